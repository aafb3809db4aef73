//! Walks over a split, in shards that the coordinator hands out. A rank asks for the next shard while it works on the present one.

use std::collections::VecDeque;

use firn_core::state::*;
use firn_core::{Directive, Input, Reply, ShardReport};

use super::Outside;
use super::network::Task;
use super::ranks::{Doing, Life, Rank};
use crate::bench::evaluated;

/// How far a rank is in a pass.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) pass: Pass,
    /// Shards that are here and not begun.
    waiting: VecDeque<Shard>,
    /// Shards that are here and not complete.
    held: Vec<u32>,
    present: Option<u32>,
    complete: Option<Directive>,
}

impl Walk {
    /// Whether there is nothing to do until the coordinator answers.
    pub(super) fn waits(&self) -> bool {
        self.present.is_none() && self.waiting.is_empty() && self.complete.is_none()
    }
}

impl Outside {
    pub(super) fn begin_walk(&mut self, rank: &mut Rank, pass: Pass) {
        rank.calls.remove(&Task::Lease);
        rank.doing = Doing::Walk(Walk {
            pass,
            waiting: VecDeque::new(),
            held: Vec::new(),
            present: None,
            complete: None,
        });
        self.ask_for_shard(rank, pass, Vec::new());
    }

    fn ask_for_shard(&mut self, rank: &mut Rank, pass: Pass, held: Vec<u32>) {
        let input = Input::ShardRequested {
            identity: rank.identity(),
            pass,
            held,
        };
        self.call(rank, Task::Lease, input);
    }

    /// One small part of a pass.
    pub(super) fn walk(&mut self, rank: &mut Rank, mut walk: Walk) -> Life {
        if let Some(life) = self.check_boundary(rank) {
            return life;
        }
        // One shard waits at most, beside the one at work.
        if walk.waiting.is_empty() && walk.complete.is_none() {
            match self.answer(rank, Task::Lease) {
                None => {}
                Some(Err(reject)) => return self.heed_refusal(rank, &reject),
                Some(Ok(Reply::Shard(shard))) => {
                    rank.ticks += 1;
                    walk.waiting.push_back(shard);
                    walk.held.push(shard.index);
                    self.ask_for_shard(rank, walk.pass, walk.held.clone());
                }
                Some(Ok(Reply::Complete(directive))) => {
                    rank.ticks += 1;
                    walk.complete = Some(directive);
                }
                Some(Ok(other)) => {
                    self.fail(format!("a request for a shard of {} was answered {other:?}", walk.pass));
                    return Life::Ends(Ending::Exited(1));
                }
            }
        }
        if let Some(shard) = walk.waiting.pop_front() {
            walk.present = Some(shard.index);
            let report = report(walk.pass, shard, rank.learned.now());
            let pass = walk.pass;
            rank.doing = Doing::Walk(walk);
            return self.call_main(rank, |identity| Input::ShardCompleted {
                identity,
                pass,
                shard: shard.index,
                report,
            });
        }
        if let Some(directive) = walk.complete.take() {
            return self.follow(rank, directive);
        }
        rank.doing = Doing::Walk(walk);
        Life::GoesOn
    }

    /// The coordinator has the shard at work.
    pub(super) fn count_shard(&mut self, rank: &mut Rank, mut walk: Walk) {
        if let Some(present) = walk.present.take() {
            walk.held.retain(|held| *held != present);
        }
        rank.doing = Doing::Walk(walk);
    }
}

/// What an honest rank reports: every second sample is an ant, and everything is predicted right. The loss is the hash of the state that
/// scored it.
fn report(pass: Pass, shard: Shard, state: u64) -> ShardReport {
    let samples = shard.end - shard.begin;
    match pass {
        Pass::Scan(_) => ShardReport::Scanned {
            bytes_read: 100 * samples,
            content_digest: format!("content of {}", shard.index),
            corrupt: Vec::new(),
        },
        Pass::Evaluate { .. } => evaluated(
            (samples, state as f64),
            [samples - samples / 2, 0, 0, samples / 2],
            Vec::new(),
        ),
    }
}
