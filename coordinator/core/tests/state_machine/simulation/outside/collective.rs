//! The collective of a formation: an operation is complete for a rank only if all members take part in it. When one is gone, some of the others
//! may have completed the last operation, and some may not.

use std::collections::BTreeSet;

use firn_core::identifiers::ProcessId;

use super::Outside;
use super::learned::{Learned, agree};
use super::ranks::Rank;

/// What all members do together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// The root gives its state.
    Broadcast { root: u32 },
    /// The gradients of a step are summed.
    Step(u64),
}

/// One formation's collective.
#[derive(Debug)]
pub(super) struct Collective {
    addresses: Vec<String>,
    /// Members that have closed their connections.
    closed: BTreeSet<ProcessId>,
    /// By sequence number: what is done, by whom, on which state.
    begun: Vec<(Operation, BTreeSet<ProcessId>, u64)>,
    given: Option<Learned>,
    first_record: u64,
}

/// How an operation stands for one rank.
pub(super) enum Progress {
    Waits,
    Complete,
    PeerLost(String),
}

impl Outside {
    pub(super) fn enter_collective(&mut self, rank: &Rank) {
        let key = (rank.job.clone(), rank.generation);
        let collective = self.collectives.entry(key).or_insert_with(|| Collective {
            addresses: rank.addresses.clone(),
            closed: BTreeSet::new(),
            begun: Vec::new(),
            given: None,
            first_record: 0,
        });
        if collective.addresses != rank.addresses {
            let what = format!("{:?} and {:?}", collective.addresses, rank.addresses);
            self.fail(format!(
                "invariant `all ranks of a generation get the same world` is broken: {what}"
            ));
        }
    }

    /// Closes the rank's connections.
    pub(super) fn leave_collective(&mut self, rank: &Rank) {
        let key = (rank.job.clone(), rank.generation);
        if let Some(collective) = self.collectives.get_mut(&key) {
            collective.closed.insert(rank.process.clone());
        }
    }

    /// The rank takes part in its next operation.
    pub(super) fn begin(&mut self, rank: &mut Rank, operation: Operation) {
        let key = (rank.job.clone(), rank.generation);
        let Some(collective) = self.collectives.get_mut(&key) else {
            return;
        };
        let sequence = rank.sequence as usize;
        rank.sequence += 1;
        rank.waits_in_collective = true;
        rank.ticks += 1;
        if let Operation::Broadcast { root } = operation
            && root == rank.rank
        {
            collective.given = Some(rank.learned.clone());
            collective.first_record = rank.first_record;
        }
        let state = match operation {
            Operation::Broadcast { .. } => 1,
            Operation::Step(_) => rank.learned.now(),
        };
        if collective.begun.len() == sequence {
            collective.begun.push((operation, BTreeSet::new(), state));
        }
        let (known, present, hash) = &mut collective.begun[sequence];
        present.insert(rank.process.clone());
        let is_same = *known == operation && agree(*hash, state);
        if *hash & 1 == 1 {
            *hash = state;
        }
        if !is_same {
            let what = format!(
                "{} begins {operation:?} on {state:x} in generation {}, others {known:?} on {hash:x}",
                rank.process, rank.generation
            );
            self.fail(format!(
                "invariant `ranks of one generation do the same steps on the same state` is broken: {what}"
            ));
        }
    }

    /// How the operation that the rank is in stands.
    pub(super) fn progress(&mut self, rank: &Rank) -> Progress {
        let key = (rank.job.clone(), rank.generation);
        let Some(collective) = self.collectives.get(&key) else {
            return Progress::Waits;
        };
        let (_, present, _) = &collective.begun[rank.sequence as usize - 1];
        let is_complete = present.len() == collective.addresses.len();
        let is_member = |process: &&ProcessId| **process != rank.process;
        let lost = collective.closed.iter().find(is_member).cloned();
        if !is_complete && lost.is_none() || self.is_divided(rank, &collective.addresses) {
            return Progress::Waits;
        }
        match lost {
            Some(lost) if !is_complete || self.coin() => Progress::PeerLost(format!(
                "rank {} lost {lost} in operation #{}",
                rank.rank,
                rank.sequence - 1
            )),
            _ => Progress::Complete,
        }
    }

    /// Whether a cut link lies between the rank and a member.
    fn is_divided(&self, rank: &Rank, addresses: &[String]) -> bool {
        let machines = addresses.iter().filter_map(|address| {
            let (process, _) = address.rsplit_once(':')?;
            self.ranks.get(&ProcessId::from(process)).map(|peer| peer.machine)
        });
        let machines: BTreeSet<usize> = machines.chain([rank.machine]).collect();
        machines.len() > 1 && machines.iter().any(|machine| self.machines[*machine].is_cut_off)
    }

    /// What the root gave.
    pub(super) fn given(&self, rank: &Rank) -> Option<(Learned, u64)> {
        let collective = self.collectives.get(&(rank.job.clone(), rank.generation))?;
        Some((collective.given.clone()?, collective.first_record))
    }
}
