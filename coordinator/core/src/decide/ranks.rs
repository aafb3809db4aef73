//! Rendezvous: ranks announce themselves, and the complete gang gets its world. And what ranks say before they give up.

use super::draft::Draft;
use super::members::{caller, working};
use crate::identifiers::RankIdentity;
use crate::queries;
use crate::record::JobEvent;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::state::{CollectiveKind, DeviceKind, Failure, Member, MemberState, Phase};

/// Bytes of an NCCL unique id.
const COLLECTIVE_ID_BYTES: usize = 128;
/// Characters of a reported error chain that are kept.
const LONGEST_MESSAGE: usize = 16 << 10;
/// Log lines that are kept of a report.
const LOG_LINES: usize = 40;

pub(super) fn join(
    draft: &mut Draft<'_>,
    identity: &RankIdentity,
    ring_address: String,
    device: String,
) -> Result<Reply, Reject> {
    let state = draft.base();
    let caller = caller(state, identity)?;
    if let Phase::Starting(gang) = &caller.job.phase {
        let joined = MemberState::Joined {
            ring_address: ring_address.clone(),
        };
        if caller.member.state != joined || caller.member.device != device {
            let kind = DeviceKind::of(&device);
            let process = identity.process.clone();
            draft.record_job(
                &identity.job,
                JobEvent::RankJoined {
                    process,
                    ring_address,
                    device,
                },
            );
            let is_there =
                |member: &Member| member.process == identity.process || member.state != MemberState::Starting;
            if gang.members.iter().all(is_there) {
                let collective = CollectiveKind::choose(gang.members.len(), kind);
                draft.record_job(&identity.job, JobEvent::GangCompleted { collective });
            }
        }
    }
    let world = queries::world(draft.state(), identity)?;
    Ok(world.map_or(Reply::Wait, |world| Reply::World(Box::new(world))))
}

pub(super) fn share_collective_id(
    draft: &mut Draft<'_>,
    identity: &RankIdentity,
    id: Option<Vec<u8>>,
) -> Result<Reply, Reject> {
    let caller = working(draft.base(), identity)?;
    if let (Some(id), Phase::Running(running)) = (id, &caller.job.phase) {
        if caller.member.rank != 0 {
            return Err(Reject::NotRankZero {
                rank: caller.member.rank,
            });
        }
        if id.len() != COLLECTIVE_ID_BYTES {
            let reason = format!("expected {COLLECTIVE_ID_BYTES} bytes, found {}", id.len());
            return Err(Reject::Invalid {
                field: "collective_id",
                reason,
            });
        }
        match &running.collective_id {
            None => draft.record_job(&identity.job, JobEvent::CollectiveIdShared { id }),
            Some(shared) if *shared == id => {}
            Some(_) => {
                let reason = "expected the one that this generation shares already, found another".to_owned();
                return Err(Reject::Invalid {
                    field: "collective_id",
                    reason,
                });
            }
        }
    }
    let id = queries::collective_id(draft.state(), identity)?;
    Ok(id.map_or(Reply::Wait, Reply::CollectiveId))
}

pub(super) fn report_failure(
    draft: &mut Draft<'_>,
    identity: &RankIdentity,
    mut failure: Failure,
) -> Result<Reply, Reject> {
    let caller = caller(draft.base(), identity)?;
    let rank = caller.member.rank;
    failure.rank = Some(rank);
    failure.host.clone_from(&caller.member.host);
    if let Some((cut, _)) = failure.message.char_indices().nth(LONGEST_MESSAGE) {
        failure.message.truncate(cut);
    }
    failure
        .last_log_lines
        .drain(..failure.last_log_lines.len().saturating_sub(LOG_LINES));
    // The first report is the one closest to the cause.
    if !caller.gang.reports.iter().any(|report| report.rank == rank) {
        draft.record_job(&identity.job, JobEvent::RankFailureReported { rank, failure });
    }
    Ok(Reply::Done)
}
