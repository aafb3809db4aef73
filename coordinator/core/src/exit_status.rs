//! The statuses with which ranks and agents exit, where they are more than success and failure: what the coordinator and those who keep agents
//! alive tell from them. They are the programs' interface, so each keeps its number for ever.

/// A rank: the user's spec or data is wrong, memory does not hold the batch, or the coordinator refused what it would refuse again.
pub const USER_ERROR: u8 = 10;
/// A rank: a loss or a gradient is not finite.
pub const NUMERICAL_ERROR: u8 = 11;
/// A rank: the coordinator told it to stop.
pub const STOPPED: u8 = 12;
/// A rank: it handed over and left, because its worker is drained or preempted; nothing is lost.
pub const LEFT: u8 = 13;
/// An agent that is there for one job: it was told to go before that was over, and another one is needed in its place. It is `EX_TEMPFAIL` of
/// `sysexits.h`: try again.
pub const TOLD_TO_GO: u8 = 75;
