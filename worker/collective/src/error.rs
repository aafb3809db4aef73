//! What can go wrong between ranks, said so that a person knows which two of them to look at.

use std::fmt;
use std::io;
use std::time::Duration;

/// The kinds of collective operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Joining the gang.
    Connect,
    /// Sum over all ranks, on all ranks.
    AllReduceSum,
    /// One rank's values, on all ranks.
    Broadcast,
    /// Wait for everyone.
    Barrier,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connect, Self::AllReduceSum, Self::Broadcast, Self::Barrier];
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "connect",
            Self::AllReduceSum => "all-reduce",
            Self::Broadcast => "broadcast",
            Self::Barrier => "barrier",
        })
    }
}

/// What a rank says it is about to do; neighbours compare it before they touch data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    /// Number of the operation, from 1.
    pub sequence: u64,
    /// Its kind.
    pub operation: Operation,
    /// Number of f32.
    pub elements: u64,
    /// Whose values are broadcast; 0 for the other kinds.
    pub root: u32,
}

impl fmt::Display for Announcement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} #{} of {} elements",
            self.operation, self.sequence, self.elements
        )?;
        if self.operation == Operation::Broadcast {
            write!(formatter, " from rank {}", self.root)?;
        }
        Ok(())
    }
}

/// Who a rank says it is when it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Number of the gang's formation.
    pub generation: u64,
    /// Number that only ranks of one job share.
    pub session: u64,
    /// The rank.
    pub rank: u32,
    /// Number of ranks.
    pub world_size: u32,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "rank {} of {}, generation {}, session {:016x}",
            self.rank, self.world_size, self.generation, self.session
        )
    }
}

/// Why a collective operation, or the joining of a gang, failed.
#[derive(Debug, thiserror::Error)]
pub enum CollectiveError {
    /// An [`crate::AbortHandle`] was used.
    #[error("{operation} #{sequence} on rank {rank} was aborted")]
    Aborted {
        /// This rank.
        rank: u32,
        /// What was running, or was refused.
        operation: Operation,
        /// Its number; 0 while connecting.
        sequence: u64,
    },
    /// The deadline of the operation passed.
    #[error("{operation} #{sequence} on rank {rank} did not end within {within:?}: {waiting_for}")]
    DeadlineExpired {
        /// This rank.
        rank: u32,
        /// What was running.
        operation: Operation,
        /// Its number; 0 while connecting.
        sequence: u64,
        /// The time it was given.
        within: Duration,
        /// What was still missing, and from whom.
        waiting_for: String,
    },
    /// The connection to a neighbour ended. The neighbour itself may have given up because it lost its own neighbour.
    #[error("rank {rank} lost rank {lost} in {operation} #{sequence}: {reason}")]
    PeerLost {
        /// This rank.
        rank: u32,
        /// The neighbour whose connection ended.
        lost: u32,
        /// What was running.
        operation: Operation,
        /// Its number; 0 while connecting.
        sequence: u64,
        /// How the end showed.
        reason: String,
    },
    /// Two ranks are not doing the same thing.
    #[error("ranks are out of step: rank {rank} is in {ours}, rank {peer} is in {theirs}")]
    Desync {
        /// This rank.
        rank: u32,
        /// The other rank.
        peer: u32,
        /// What this rank is doing.
        ours: Announcement,
        /// What the other is doing.
        theirs: Announcement,
    },
    /// The peer at an address is not the one that was expected there.
    #[error("{address} refused this rank: we are {ours}; there is {theirs}")]
    Refused {
        /// `host:port`.
        address: String,
        /// Who we said we are.
        ours: Identity,
        /// Who the other says it is.
        theirs: Identity,
    },
    /// Something else than a ring of this version answers at an address.
    #[error("{address} does not speak this ring's protocol: expected the mark {expected:016x}, found {found:016x}")]
    ForeignProtocol {
        /// `host:port`.
        address: String,
        /// The first 8 bytes that a ring sends.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The listener could not be made.
    #[error("cannot listen on {host}: {source}")]
    Bind {
        /// The host that was asked for.
        host: String,
        /// The system's answer.
        source: io::Error,
    },
    /// Rank, world size and addresses do not fit together.
    #[error("rank {rank} of {world_size} cannot be formed from {addresses} addresses")]
    InvalidWorld {
        /// The rank that was asked for.
        rank: u32,
        /// The world size that was asked for.
        world_size: u32,
        /// Number of addresses given.
        addresses: usize,
    },
    /// A broadcast from a rank that does not exist.
    #[error("broadcast root must be below the world size {world_size}, found {root}")]
    InvalidRoot {
        /// The root that was asked for.
        root: u32,
        /// Number of ranks.
        world_size: u32,
    },
    /// The buffer lies where this collective cannot reach it.
    #[error("{collective} takes {expected} buffers, found a {found} buffer")]
    WrongBuffer {
        /// `ring` or `nccl`.
        collective: &'static str,
        /// `host` or `device`.
        expected: &'static str,
        /// `host` or `device`.
        found: &'static str,
    },
    /// An earlier operation failed; this collective takes no more work.
    #[error("{operation} #{sequence} on rank {rank} is refused: the collective is broken since: {cause}")]
    Broken {
        /// This rank.
        rank: u32,
        /// What was refused.
        operation: Operation,
        /// The number it would have had.
        sequence: u64,
        /// The first error.
        cause: String,
    },
    /// The operating system refused a socket operation.
    #[error("rank {rank} cannot {what}: {source}")]
    Socket {
        /// This rank.
        rank: u32,
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// NCCL or the CUDA driver is not there.
    #[error("NCCL cannot be used on this machine: {reason}")]
    NcclMissing {
        /// What is missing and what to do.
        reason: String,
    },
    /// An NCCL or CUDA call failed.
    #[error("{call} failed on rank {rank}: {reason}")]
    Nccl {
        /// This rank.
        rank: u32,
        /// The C function.
        call: &'static str,
        /// NCCL's own words.
        reason: String,
    },
}
