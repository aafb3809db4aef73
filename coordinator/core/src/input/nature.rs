//! Who sends each kind of input, and which have to be recorded at any price.

use super::Input;

/// Who an input comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// The coordinator itself.
    Coordinator,
    /// A person or a person's program, who wants to know what became of it.
    Person,
    /// An agent or a rank, which repeats the call until the coordinator takes it.
    Machine,
}

impl Input {
    /// Who it comes from.
    pub fn sender(&self) -> Sender {
        match self {
            Self::CoordinatorStarted
            | Self::CoordinatorRestored
            | Self::Woken { .. }
            | Self::Tick
            | Self::PassScored { .. }
            | Self::ScoringFailed { .. }
            | Self::JobErased { .. } => Sender::Coordinator,
            Self::Once { .. }
            | Self::Submit { .. }
            | Self::Cancel { .. }
            | Self::SubmitSuspended { .. }
            | Self::Update { .. }
            | Self::Suspend { .. }
            | Self::Resume { .. }
            | Self::Delete { .. }
            | Self::ArtifactFetched { .. }
            | Self::IssueToken { .. }
            | Self::RevokeToken { .. }
            | Self::RotateToken { .. }
            | Self::DrainWorker { .. }
            | Self::SetQuota { .. } => Sender::Person,
            Self::AgentAttached { .. }
            | Self::AgentHeartbeat { .. }
            | Self::AgentDetached { .. }
            | Self::AgentDraining { .. }
            | Self::AgentLeaving { .. }
            | Self::RankStarted { .. }
            | Self::RankExited { .. }
            | Self::RankEnrolled { .. }
            | Self::RankPulsed { .. }
            | Self::RankJoined { .. }
            | Self::CollectiveIdShared { .. }
            | Self::DatasetRegistered { .. }
            | Self::ModelRegistered { .. }
            | Self::ShardRequested { .. }
            | Self::ShardCompleted { .. }
            | Self::StepsCommitted { .. }
            | Self::SampleQuarantined { .. }
            | Self::CheckpointStored { .. }
            | Self::CheckpointRejected { .. }
            | Self::RollbackRequested { .. }
            | Self::ArtifactStored { .. }
            | Self::JobFinished { .. }
            | Self::RankFailed { .. } => Sender::Machine,
        }
    }

    /// Whether it has to be recorded even when there is hardly any room left: it ends something, or tells what has become of it.
    pub fn is_vital(&self) -> bool {
        match self {
            Self::Once { mutation, .. } => mutation.is_vital(),
            Self::CoordinatorStarted
            | Self::CoordinatorRestored
            | Self::Woken { .. }
            | Self::Tick
            | Self::PassScored { .. }
            | Self::ScoringFailed { .. }
            | Self::Cancel { .. }
            | Self::Suspend { .. }
            | Self::Resume { .. }
            | Self::Delete { .. }
            | Self::ArtifactFetched { .. }
            | Self::JobErased { .. }
            | Self::RevokeToken { .. }
            | Self::DrainWorker { .. }
            | Self::AgentAttached { .. }
            | Self::AgentHeartbeat { .. }
            | Self::AgentDetached { .. }
            | Self::AgentDraining { .. }
            | Self::AgentLeaving { .. }
            | Self::RankStarted { .. }
            | Self::RankExited { .. }
            | Self::RankEnrolled { .. }
            | Self::RankPulsed { .. }
            | Self::JobFinished { .. }
            | Self::RankFailed { .. } => true,
            Self::Submit { .. }
            | Self::IssueToken { .. }
            | Self::RotateToken { .. }
            | Self::SubmitSuspended { .. }
            | Self::Update { .. }
            | Self::SetQuota { .. }
            | Self::RankJoined { .. }
            | Self::CollectiveIdShared { .. }
            | Self::DatasetRegistered { .. }
            | Self::ModelRegistered { .. }
            | Self::ShardRequested { .. }
            | Self::ShardCompleted { .. }
            | Self::StepsCommitted { .. }
            | Self::SampleQuarantined { .. }
            | Self::CheckpointStored { .. }
            | Self::CheckpointRejected { .. }
            | Self::RollbackRequested { .. }
            | Self::ArtifactStored { .. } => false,
        }
    }
}
