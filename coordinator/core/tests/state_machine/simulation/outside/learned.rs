//! What a rank has learned, as a chain of hashes: two ranks hold the same state only if they have applied the same steps to the same state.
//!
//! A hash has 52 bits, so that it passes through a float of a record unharmed. Its lowest bit says that somewhere before a bit had flipped:
//! such a state is nobody's fault, and the invariants look past it.

/// Hash of the state before the first step.
const INITIAL: u64 = 0x6_b2d8_9c11_3d4e;
const MASK: u64 = (1 << 52) - 2;

/// The state that trains: the hash after each step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learned {
    initial: u64,
    chain: Vec<u64>,
}

impl Default for Learned {
    fn default() -> Self {
        Self {
            initial: INITIAL,
            chain: Vec::new(),
        }
    }
}

impl Learned {
    /// Steps that were applied.
    pub(crate) fn steps(&self) -> u64 {
        self.chain.len() as u64
    }

    /// The hash now.
    pub(crate) fn now(&self) -> u64 {
        self.chain.last().copied().unwrap_or(self.initial)
    }

    /// The hash after a step.
    pub(crate) fn after(&self, step: u64) -> u64 {
        self.chain[step as usize]
    }

    /// The hashes after each step.
    pub(crate) fn chain(&self) -> &[u64] {
        &self.chain
    }

    /// One step; `nonce` is what differs between two attempts at it.
    pub(crate) fn learn(&mut self, nonce: u64) {
        let before = self.now();
        let step = self.steps();
        self.chain
            .push(mix(before ^ mix(step ^ mix(nonce))) & MASK | before & 1);
    }

    /// A bit flips.
    pub(crate) fn corrupt(&mut self, by: u64) {
        let last = self.chain.last_mut().unwrap_or(&mut self.initial);
        *last = mix(*last ^ by) & MASK | 1;
    }

    /// The digest of the file that it is stored in.
    pub(crate) fn sha256(&self) -> String {
        format!("{:064x}", u128::from(self.now()) << 64 | u128::from(self.steps()))
    }
}

/// Whether two hashes of one moment are the same, as far as no bit had flipped.
pub(crate) fn agree(a: u64, b: u64) -> bool {
    a == b || (a | b) & 1 == 1
}

/// The finaliser of SplitMix64.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
