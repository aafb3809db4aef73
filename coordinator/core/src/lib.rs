//! The heart of Firn: every decision, as a pure state machine.
//!
//! Nothing in here reads a clock, a file, a socket or a random number: time and events come in, records and effects go out.
//! So any history can be replayed, at any speed, to the same state.
//!
//! The shell runs one loop over [`State`]:
//!
//! 1. take an [`Input`] and call [`decide`]; a [`Reject`] goes back to the caller and changes nothing;
//! 2. journal [`Decision::records`] durably; then [`enact`] the decision on the state;
//! 3. carry out [`Decision::effects`] in order, then send [`Decision::reply`];
//! 4. if the state changed, ask again for everyone who waits ([`queries`], or the same input again);
//! 5. sleep until [`deadline`] or the next input; at the deadline the input is [`Input::Tick`].
//!
//! At start it folds the journal with [`apply`] into `State::new`, then gives [`Input::CoordinatorStarted`].

mod apply;
pub mod audit;
pub mod compatibility;
mod decide;
mod decision;
mod effect;
pub mod exit_status;
pub mod identifiers;
mod input;
pub mod metrics;
pub mod mixing;
mod natural_order;
mod now;
pub mod order;
pub mod placement;
pub mod queries;
pub mod queue;
pub mod random;
pub mod range_test;
pub mod record;
mod reject;
mod reply;
mod revision;
pub mod schedule;
mod selection;
pub mod shared_map;
pub mod slices;
mod soft_change;
pub mod spec;
mod stage;
pub mod state;
pub mod task;
pub mod trust;

pub use apply::{apply, apply_soft, enact, pass_over_job};
pub use decide::{deadline, decide};
pub use decision::Decision;
pub use effect::{Effect, StartRank};
pub use input::{Input, NewToken, Sender, ShardReport};
pub use now::Now;
pub use record::{Event, JobEvent, Record, Source};
pub use reject::Reject;
pub use reply::{Directive, Leave, News, Reply, Welcome, World};
pub use soft_change::SoftChange;
pub use stage::Stage;
pub use state::{Settings, State};
