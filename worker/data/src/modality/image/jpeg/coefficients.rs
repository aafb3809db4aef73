//! Where coefficients lie between the entropy decoder, which makes one block after the other, and the inverse DCT, which takes many side
//! by side.

use super::header::ZIGZAG;

/// Blocks whose coefficients lie together: the inverse DCT takes them side by side.
pub(super) const GROUP: usize = 16;

/// Coefficients of `GROUP` neighbouring blocks: by position in natural order, then by block.
pub(super) type Group = [i16; 64 * GROUP];

/// Coefficients of one component: rows of groups.
#[derive(Default)]
pub(super) struct Coefficients {
    pub(super) groups: Vec<Group>,
}

impl Coefficients {
    /// Room for `rows` rows of `blocks` blocks, all zero.
    pub(super) fn reset(&mut self, blocks: usize, rows: usize) {
        self.groups.clear();
        self.groups.resize(blocks.div_ceil(GROUP) * rows, [0; 64 * GROUP]);
    }
}

/// One block within its group.
pub(super) struct Block<'a> {
    pub(super) group: &'a mut Group,
    pub(super) lane: usize,
}

impl Block<'_> {
    /// The coefficient at position `zigzag`, below 64, of the zigzag order.
    #[inline(always)]
    pub(super) fn at(&mut self, zigzag: usize) -> &mut i16 {
        let run = usize::from(ZIGZAG[zigzag & 63]);
        &mut self.group[((run * GROUP) | self.lane) & (64 * GROUP - 1)]
    }
}
