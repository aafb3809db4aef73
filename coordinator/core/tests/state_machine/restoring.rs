//! The journal is lost, and put back from a backup, while agents and ranks go on by what was decided since.

use std::collections::BTreeSet;

use firn_core::identifiers::{ProcessId, RankIdentity};
use firn_core::state::*;
use firn_core::{Event, Input, Record};

use crate::bench::*;

fn living(ranks: &[&RankIdentity]) -> Vec<LivingProcess> {
    let pids = (100..).zip(ranks);
    pids.map(|(pid, rank)| LivingProcess {
        process: rank.process.clone(),
        pid,
    })
    .collect()
}

fn ids(ranks: &[RankIdentity]) -> BTreeSet<ProcessId> {
    ranks.iter().map(|rank| rank.process.clone()).collect()
}

#[test]
fn no_process_is_named_as_one_of_the_history_that_was_lost() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(spec_on("ants", 2), &TRAIN_AND_VALIDATION);
    let backup = coordinator.journal.len();
    // One rank is lost and replaced; another job comes and goes, and a third one is there.
    coordinator.exited(&ranks[1], Ending::Killed(9));
    let recruits = coordinator.start_ranks();
    coordinator.join(&recruits[0]).unwrap();
    let both = coordinator.rejoin(&ranks[..1], 0);
    coordinator.attach_cpus(&["w2"]);
    coordinator.submit(spec("bees"));
    let bees = coordinator.start_ranks();
    assert_eq!((recruits.len(), bees.len(), both.len()), (1, 1, 2));
    let known: BTreeSet<ProcessId> = [&ranks, &recruits, &bees]
        .into_iter()
        .flat_map(|ranks| ids(ranks))
        .collect();

    coordinator.restore(backup);
    let old = [&both[0], &recruits[0], &bees[0]];
    for (worker, rank) in ["w0", "w1", "w2"].into_iter().zip(old) {
        let (_, unwanted) = coordinator.attach_with(description(worker, &["cpu"]), &living(&[rank]));
        let is_killed = unwanted.contains(&rank.process) || coordinator.stops().contains(&rank.process);
        assert!(is_killed, "{rank:?}");
    }
    coordinator.submit(spec("bees"));
    let mut new = coordinator.start_ranks_within(120_000);
    for rank in &ranks {
        coordinator.exited(rank, Ending::Killed(9));
    }
    new.extend(coordinator.start_ranks_within(10_000));
    assert_eq!(new.len(), 3, "{new:?}");
    let names = ids(&new);
    assert!(names.is_disjoint(&known), "{names:?} {known:?}");
    let epoch = coordinator.state.restored_in.unwrap();
    let end = format!("-e{epoch}");
    assert!(names.iter().all(|name| name.as_str().ends_with(&end)), "{names:?}");
    // The old ones may know the job and the generation: they are others.
    for rank in old {
        assert!(coordinator.join(rank).is_err(), "{rank:?}");
    }
    // Who grows later, too.
    let ants: Vec<_> = new.iter().filter(|rank| rank.job == job("ants")).cloned().collect();
    for rank in &ants {
        coordinator.join(rank).unwrap();
    }
    coordinator.prepare(&ants, &TRAIN_AND_VALIDATION);
    coordinator.exited(&ants[1], Ending::Killed(9));
    let recruits = ids(&coordinator.start_ranks_within(10_000));
    assert!(recruits.len() == 1 && recruits.is_disjoint(&known), "{recruits:?}");
    assert!(
        recruits.iter().all(|name| name.as_str().ends_with(&end)),
        "{recruits:?}"
    );
    coordinator.crash();
}

#[test]
fn a_restore_is_the_fault_of_no_job_and_of_no_worker() {
    let mut wanted = spec_on("ants", 2);
    wanted.restart_policy.max_restarts = 0;
    wanted.run_policy.active_deadline_ms = Some(60_000);
    let mut coordinator = Coordinator::new();
    coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    let (backup, generation) = (coordinator.journal.len(), coordinator.job("ants").generation);
    // Until the job has been active for too long: that is for the coordinator to say that serves.
    coordinator.now = coordinator.now + 90_000;
    coordinator.journal.truncate(backup);
    coordinator.state = coordinator.replayed();
    coordinator.accept(Input::CoordinatorRestored);

    let restored: Vec<Record> = coordinator.journal[backup..].to_vec();
    let Event::CoordinatorRestored { epoch } = restored[0].event else {
        panic!("{restored:?}")
    };
    assert_eq!(Some(epoch), coordinator.state.restored_in);
    let ants = coordinator.job("ants");
    assert!(matches!(ants.phase, Phase::Restarting(_)), "{:?}", ants.phase);
    assert_eq!((ants.generation, ants.losses_counted), (generation, 0));
    let [loss] = ants.losses.as_slice() else {
        panic!("expected one loss, found {:?}", ants.losses)
    };
    assert!(!loss.counts);
    let failure = &loss.cause.failure;
    assert!(
        failure
            .message
            .starts_with("the coordinator was restored from a backup whose newest record was 90 s old"),
        "{failure:?}"
    );
    assert_eq!((failure.rank, failure.host.as_str()), (None, ""));
    for worker in coordinator.state.workers.values() {
        assert_eq!((worker.failures.len(), worker.availability), (0, Availability::Ready));
        let reason = LossReason::Restored;
        assert!(matches!(worker.presence, Presence::Lost { reason: found, .. } if found == reason));
    }
}
