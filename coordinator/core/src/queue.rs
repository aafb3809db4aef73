//! The policy of the queue, as pure functions: who is served first, how much a namespace may hold, and who makes room.
//!
//! - [`order`]: higher priorities first; within one, the namespace that uses the smallest share first, so that one team with a thousand jobs
//!   does not keep another with one waiting; within a namespace, whoever came first.
//! - [`quota`]: the most slots and jobs of a namespace. Who reaches it waits, and keeps nobody of other namespaces waiting.
//! - [`preemption`]: which running jobs of lower priority give slots up, so that one that waits can start.
//!
//! They know neither gangs nor records: `decide/placing.rs` asks them while it hands slots out, and `decide/preempting.rs` drains whom they name.

pub mod order;
pub mod preemption;
pub mod quota;
