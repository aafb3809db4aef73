//! What a rank has, from the end of its preparation to the end of the process. Each activity takes what it needs of it.

use firn_core::spec::JobSpec;

use super::{
    checkpoints::Checkpoints, job_data::JobData, learner::Learner, membership::Membership, settings::RankArguments,
};

/// A rank at work.
pub(crate) struct Session<'a> {
    pub(crate) arguments: &'a RankArguments,
    pub(crate) spec: JobSpec,
    pub(crate) data: JobData,
    pub(crate) learner: Learner,
    pub(crate) membership: Membership<'a>,
    pub(crate) checkpoints: Checkpoints,
}
