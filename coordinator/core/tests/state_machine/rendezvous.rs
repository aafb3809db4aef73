//! Gangs are formed and find each other.

use firn_core::identifiers::{Generation, ProcessId, RankIdentity};
use firn_core::spec::DeviceRequest;
use firn_core::state::*;
use firn_core::{Directive, Effect, Input, Reply, StartRank};

use crate::bench::*;

#[test]
fn a_gang_is_started_on_all_its_slots_at_once() {
    let mut coordinator = Coordinator::new();
    coordinator.attach("a", &["cpu", "cpu"]);
    let mut wanted = spec_on("ants", 2);
    wanted.resources.slots_per_worker = 2;
    coordinator.submit(wanted);
    assert!(coordinator.starts().is_empty());
    coordinator.attach("b", &["cpu", "cpu"]);
    let start = |rank: u32, worker: &str, local_rank, slot| StartRank {
        worker: worker.into(),
        process: ProcessId::from(format!("ants-g1-r{rank}")),
        job: job("ants"),
        generation: Generation(1),
        rank,
        world_size: 4,
        local_rank,
        local_world_size: 2,
        slot,
    };
    assert_eq!(
        coordinator.starts(),
        [
            start(0, "a", 0, 0),
            start(1, "a", 1, 1),
            start(2, "b", 0, 0),
            start(3, "b", 1, 1)
        ]
    );
    assert_eq!(coordinator.job("ants").generation, Generation(1));
}

#[test]
fn the_world_is_given_when_the_last_rank_has_joined() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_on("ants", 2));
    let ranks = coordinator.start_ranks();
    assert_eq!(coordinator.join(&ranks[1]), Ok(Reply::Wait));
    assert_eq!(coordinator.join(&ranks[1]), Ok(Reply::Wait));
    assert_eq!(firn_core::queries::world(&coordinator.state, &ranks[1]), Ok(None));
    let refusal = coordinator
        .request(&ranks[1], Pass::Scan(SplitName::Train))
        .unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the gang of jobs/ants is not complete: 1 of 2 ranks have joined"
    );

    let Ok(Reply::World(world)) = coordinator.join(&ranks[0]) else {
        panic!("the gang is complete")
    };
    assert_eq!(world.rank, 0);
    assert_eq!(world.ring_addresses, ["ants-g1-r0:1", "ants-g1-r1:1"]);
    assert_eq!(world.collective, CollectiveKind::Ring);
    assert_eq!(world.origin, Origin::Initial);
    assert_eq!(world.next, Directive::RunPass(Pass::Scan(SplitName::Train)));
    assert_eq!(coordinator.world(&ranks[1]).rank, 1);
    // a rank that missed the answer asks again
    assert!(matches!(coordinator.join(&ranks[1]), Ok(Reply::World(_))));
}

#[test]
fn the_collective_fits_the_gang() {
    let table = [
        (1, "cpu", CollectiveKind::Solo),
        (2, "cpu", CollectiveKind::Ring),
        (2, "cuda:0", CollectiveKind::Nccl),
    ];
    for (workers, device, expected) in table {
        let mut coordinator = Coordinator::new();
        for worker in 0..workers {
            coordinator.attach(&format!("w{worker}"), &[device]);
        }
        coordinator.submit(spec_on("ants", workers));
        let ranks = coordinator.bring_up();
        assert_eq!(coordinator.world(&ranks[0]).collective, expected);
    }
}

#[test]
fn rank_0_shares_the_unique_id_and_it_survives_a_crash() {
    let mut coordinator = Coordinator::new();
    coordinator.attach("a", &["cuda:0", "cuda:1"]);
    let mut wanted = spec("ants");
    wanted.resources.slots_per_worker = 2;
    wanted.resources.device = DeviceRequest::Gpu;
    coordinator.submit(wanted);
    let ranks = coordinator.bring_up();
    let share = |rank: &RankIdentity, id: Option<Vec<u8>>| Input::CollectiveIdShared {
        identity: rank.clone(),
        id,
    };
    assert_eq!(coordinator.accept(share(&ranks[1], None)), Reply::Wait);
    assert_eq!(
        coordinator.refuse(share(&ranks[1], Some(vec![1; 128]))),
        "expected rank 0, found rank 1"
    );
    assert_eq!(
        coordinator.refuse(share(&ranks[0], Some(vec![1; 3]))),
        "collective_id: expected 128 bytes, found 3"
    );
    assert_eq!(
        coordinator.accept(share(&ranks[0], Some(vec![1; 128]))),
        Reply::CollectiveId(vec![1; 128])
    );
    assert_eq!(
        coordinator.accept(share(&ranks[0], Some(vec![1; 128]))),
        Reply::CollectiveId(vec![1; 128])
    );
    coordinator.refuse(share(&ranks[0], Some(vec![2; 128])));
    coordinator.crash();
    assert_eq!(
        coordinator.accept(share(&ranks[1], None)),
        Reply::CollectiveId(vec![1; 128])
    );
}

#[test]
fn strangers_and_older_formations_are_refused() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    let rank = coordinator.bring_up().remove(0);
    let stranger = RankIdentity {
        process: ProcessId::from("other"),
        ..rank.clone()
    };
    assert_eq!(
        coordinator.join(&stranger).unwrap_err().to_string(),
        "process other of jobs/ants is no longer wanted: the gang has gone on without it"
    );
    let late = RankIdentity {
        generation: Generation(0),
        ..rank.clone()
    };
    let pass = Pass::Scan(SplitName::Train);
    assert_eq!(
        coordinator.request(&late, pass).unwrap_err().to_string(),
        "expected generation 1 of jobs/ants, found 0"
    );
    let elsewhere = RankIdentity {
        job: job("bees"),
        ..rank
    };
    assert_eq!(
        coordinator.request(&elsewhere, pass).unwrap_err().to_string(),
        "job jobs/bees does not exist"
    );
}

#[test]
fn a_rank_that_does_not_join_in_time_counts_as_lost() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    let mut wanted = spec_on("ants", 2);
    wanted.restart_policy.max_restarts = 0;
    coordinator.submit(wanted);
    let ranks = coordinator.start_ranks();
    coordinator.join(&ranks[0]).unwrap();
    coordinator.live(299_000);
    assert!(matches!(coordinator.job("ants").phase, Phase::Starting(_)));
    coordinator.take_effects();
    coordinator.live(1_000);
    assert_eq!(coordinator.stops().len(), 2);
    coordinator.obey();
    let failure = coordinator.failure("ants");
    assert_eq!(failure.reason, FailureReason::NodeFailures);
    assert_eq!(
        failure.message,
        "rank 1 on host-b did not call within 300 s; no restart is allowed"
    );
    assert_eq!((failure.rank, failure.host.as_str()), (Some(1), "host-b"));
}

#[test]
fn a_start_that_the_agent_never_got_is_asked_for_again() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(spec("ants"));
    let asked = coordinator.starts();
    coordinator.attach("a", &["cpu"]);
    assert_eq!(coordinator.starts(), asked);
    coordinator.crash();
    assert!(coordinator.starts().is_empty(), "nobody is there to be asked");
    coordinator.attach("a", &["cpu"]);
    assert_eq!(coordinator.starts(), asked);
}

#[test]
fn a_start_that_is_confirmed_by_a_process_of_a_past_formation_is_stopped() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.accept(Input::RankStarted {
        worker: "a".into(),
        process: "old-g1-r0".into(),
        pid: 7,
    });
    assert!(
        matches!(&coordinator.take_effects()[..], [Effect::StopRank { process, .. }] if process.as_str() == "old-g1-r0")
    );
}
