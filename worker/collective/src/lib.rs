//! How the ranks of a gang add up their gradients.
//!
//! One small trait, [`Collective`], and three ways to serve it: [`solo::Solo`] for a gang of one, [`ring`] over TCP for machines without
//! GPUs (and the fallback wherever NCCL cannot be used), and [`nccl`] for GPUs.
//!
//! What all of them promise:
//! - **Same bytes everywhere.** After an all-reduce every rank holds bit-identical sums, and the order of the additions depends on nothing
//!   but the world size, the length and the rank numbers.
//! - **Nothing waits for ever.** Each operation has a deadline, and an [`AbortHandle`] ends it at once from another thread.
//! - **Failure is final.** After an error a collective refuses all further work; a new generation makes a new one. So no rank can go on
//!   with half a sum.
//! - **No silent mix-up.** Operations are numbered; the ring sends number, kind and length ahead of the data and refuses a mismatch.

mod abort;
mod error;
pub mod nccl;
pub mod ring;
pub mod solo;

pub use abort::AbortHandle;
pub use error::{Announcement, CollectiveError, Identity, Operation};
pub use ring::{Ring, RingListener, RingOptions};
pub use solo::Solo;

/// The ranks of one generation of a gang, joined for collective operations.
///
/// All ranks must call the same operations in the same order with the same number of elements.
pub trait Collective: Send {
    /// This rank's number, from 0.
    fn rank(&self) -> u32;

    /// Number of ranks, at least 1.
    fn world_size(&self) -> u32;

    /// Replaces `buffer` on every rank by the element-wise sum over all ranks; bit-identical on all of them.
    ///
    /// # Errors
    /// Any [`CollectiveError`]; the buffer's content is then unspecified and the collective is unusable.
    fn all_reduce_sum(&mut self, buffer: Buffer<'_>) -> Result<(), CollectiveError>;

    /// Replaces `buffer` on every rank by that of `root`.
    ///
    /// # Errors
    /// As [`Collective::all_reduce_sum`]; [`CollectiveError::InvalidRoot`] leaves the collective usable.
    fn broadcast(&mut self, buffer: Buffer<'_>, root: u32) -> Result<(), CollectiveError>;

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// As [`Collective::all_reduce_sum`].
    fn barrier(&mut self) -> Result<(), CollectiveError>;

    /// Ends the operation that is running, and all later ones, from any thread.
    fn abort_handle(&self) -> AbortHandle;

    /// Operations begun so far. Ranks that hang disagree in it; the lowest number is the laggard's.
    fn sequence(&self) -> u64;
}

/// The numbers of one operation, where they lie.
#[derive(Debug)]
pub enum Buffer<'a> {
    /// In host memory: solo and the ring.
    Host(&'a mut [f32]),
    /// In device memory: solo and NCCL. `pointer` is the device address of `elements` consecutive f32; it must stay valid until the
    /// operation has returned. Work queued on the legacy default stream before the call is waited for.
    Device {
        /// Device address.
        pointer: u64,
        /// Number of f32.
        elements: usize,
    },
}

impl Buffer<'_> {
    /// Number of f32.
    pub fn elements(&self) -> usize {
        match self {
            Self::Host(values) => values.len(),
            Self::Device { elements, .. } => *elements,
        }
    }

    fn place(&self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Device { .. } => "device",
        }
    }
}
