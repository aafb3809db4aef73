//! A decision: what becomes durable, what changes in memory alone, what is done, and what the caller is told, in this order.

use crate::effect::Effect;
use crate::record::Record;
use crate::reply::Reply;
use crate::soft_change::SoftChange;

/// The answer of `decide`.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Journal these (in one transaction, durable), then apply them.
    pub records: Vec<Record>,
    /// Then apply these; never journal them.
    pub soft_changes: Vec<SoftChange>,
    /// Then do these, in order.
    pub effects: Vec<Effect>,
    /// Then answer.
    pub reply: Reply,
}
