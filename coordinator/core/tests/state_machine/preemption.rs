//! A job drains those of lower priority that hold what it needs, and they lose nothing by it.

use firn_core::identifiers::{Generation, RankIdentity};
use firn_core::spec::PreemptionPolicy;
use firn_core::state::*;
use firn_core::{JobEvent, Leave};

use crate::bench::*;
use crate::priorities::spec_in;

const STORE: Option<Leave> = Some(Leave { store_checkpoint: true });
const LEFT: Ending = Ending::Exited(13);

/// A job of no priority that trains on so many workers; it needs only one.
fn training(workers: u32) -> (Coordinator, Vec<RankIdentity>) {
    let mut wanted = spec_on("low", workers);
    wanted.restart_policy.max_restarts = 0;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    (coordinator, ranks)
}

fn urgent(name: &str, workers: u32) -> firn_core::spec::JobSpec {
    let mut spec = spec_on(name, workers);
    spec.scheduling.priority = 10;
    spec
}

impl Coordinator {
    /// Jobs that were asked for their slots, and by whom.
    fn drained(&self) -> Vec<(String, String)> {
        let asked = self.journal.iter().filter_map(|record| match &record.event {
            firn_core::Event::Job {
                job,
                event:
                    JobEvent::ReleaseRequested {
                        reason: Release::Preempted { by },
                    },
            } => Some((job.to_string(), by.to_string())),
            _ => None,
        });
        asked.collect()
    }
}

fn named(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(job, by): &(&str, &str)| ((*job).to_owned(), (*by).to_owned());
    pairs.iter().map(owned).collect()
}

#[test]
fn a_job_of_higher_priority_drains_a_lower_one_that_goes_on_later_without_a_lost_step() {
    let (mut coordinator, ranks) = training(2);
    coordinator.commit(&ranks[0], 0, 0..3).unwrap();
    coordinator.submit(urgent("high", 2));
    assert_eq!(coordinator.drained(), named(&[("low", "high")]));
    for rank in &ranks {
        let news = coordinator.news(rank);
        assert_eq!((news.leave, news.stop, news.generation), (STORE, None, Generation(1)));
    }
    let needs = "needs 2 workers with 1 free cpu slot each; 0 of 2 attached workers have one, 2 more are busy";
    assert_eq!(
        coordinator.why_queued("high"),
        format!("{needs}; jobs/low is giving its slots up to it")
    );
    coordinator.store(&ranks[0], 0, 3).unwrap();
    coordinator.exited(&ranks[0], LEFT);
    coordinator.live(20_000);
    assert_eq!(coordinator.drained().len(), 1, "nobody is asked twice");
    coordinator.exited(&ranks[1], LEFT);
    assert_eq!(coordinator.placed(), ["high"]);
    let (status, reason, message) = coordinator.condition("low", ConditionKind::Queued);
    assert_eq!((status, reason.as_str()), (ConditionStatus::True, "Preempted"));
    assert_eq!(
        message,
        format!("gave its slots up to jobs/high, which has a higher priority; {needs}")
    );
    // It has its old place, before what came later.
    coordinator.submit(spec_on("later", 2));
    coordinator.take_effects();
    coordinator.end("high");
    assert_eq!(coordinator.placed(), ["low"]);
    let again = coordinator.bring_up();
    assert_eq!((again.len(), coordinator.world(&again[0]).steps_done), (2, 3));
    coordinator.commit(&again[0], 0, 3..4).unwrap();
    let low = coordinator.job("low");
    assert_eq!((low.losses_counted, low.restarts), (0, 0));
    assert_eq!(low.run.ledger.rolled_back, [], "zero steps lost");
}

#[test]
fn nobody_is_drained_for_a_job_that_does_not_want_it_or_has_no_higher_priority() {
    let mut patient = urgent("patient", 1);
    patient.scheduling.preemption_policy = PreemptionPolicy::Never;
    for spec in [patient, spec_on("equal", 1)] {
        let (mut coordinator, _) = training(1);
        coordinator.submit(spec);
        coordinator.live(60_000);
        assert_eq!(coordinator.drained(), []);
        assert_eq!(coordinator.placed(), ["low"]);
    }
}

#[test]
fn nobody_is_drained_where_it_would_not_help() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b"]);
    coordinator.submit(spec_in("team", "low", 0));
    coordinator.submit(spec_in("team", "equal", 10));
    coordinator.submit(urgent("high", 2));
    assert_eq!(coordinator.placed(), ["low", "equal"]);
    assert_eq!(coordinator.drained(), [], "the other slot is held by an equal");
    coordinator.submit(urgent("impossible", 3));
    assert_eq!(coordinator.drained(), []);
}

#[test]
fn as_few_as_will_do_are_drained_the_lowest_and_youngest_first() {
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a", "b", "c", "d"]);
    for (name, priority) in [("one", 1), ("old", 0), ("young", 0), ("two", 2)] {
        coordinator.submit(spec_in("team", name, priority));
    }
    coordinator.submit(urgent("high", 1));
    assert_eq!(coordinator.drained(), named(&[("young", "high")]));
    coordinator.obey();
    assert_eq!(coordinator.placed(), ["one", "old", "two", "high"]);
    coordinator.submit(urgent("higher", 2));
    assert_eq!(
        coordinator.drained()[1..],
        named(&[("old", "higher"), ("one", "higher")])
    );
    coordinator.obey();
    assert_eq!(coordinator.placed(), ["two", "high", "higher"]);
    coordinator.end("high");
    assert_eq!(coordinator.placed(), ["one", "two", "higher"]);
}

#[test]
fn an_elastic_gang_gives_up_what_it_has_above_its_fewest_workers_and_works_on() {
    let mut wanted = spec_on("low", 3);
    wanted.resources.workers.min = 1;
    wanted.restart_policy.max_restarts = 0;
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(wanted, &TRAIN_AND_VALIDATION);
    coordinator.commit(&ranks[0], 0, 0..2).unwrap();
    coordinator.submit(urgent("high", 1));
    assert_eq!(coordinator.drained(), [], "the gang as such is left alone");
    let news = coordinator.news(&ranks[2]);
    assert_eq!(
        news.leave,
        Some(Leave {
            store_checkpoint: false
        })
    );
    for rank in &ranks[..2] {
        let news = coordinator.news(rank);
        assert_eq!((news.leave, news.at_step_boundary), (None, true));
    }
    coordinator.exited(&ranks[2], LEFT);
    assert_eq!(coordinator.placed(), ["low", "high"]);
    let low = coordinator.job("low");
    assert_eq!(low.gang().unwrap().living().count(), 2);
    assert_eq!((low.losses_counted, low.restarts), (0, 0));
    coordinator.end("high");
    assert_eq!(
        coordinator.job("low").gang().unwrap().recruits.len(),
        1,
        "it grows back"
    );
}

#[test]
fn a_gang_that_is_short_has_its_missing_worker_freed() {
    let mut coordinator = Coordinator::new();
    let ranks = coordinator.training_job(urgent("high", 2), &TRAIN_AND_VALIDATION);
    coordinator.attach_cpus(&["c"]);
    coordinator.submit(spec_in("team", "low", 0));
    assert_eq!(coordinator.placed(), ["high", "low"]);
    // Its worker is gone with its rank.
    let worker = coordinator.state.processes[&ranks[1].process].worker.clone();
    let stream = coordinator.state.soft.streams[&worker];
    coordinator.accept(firn_core::Input::AgentLeaving { worker, stream });
    assert_eq!(coordinator.drained(), named(&[("low", "high")]));
    coordinator.obey();
    assert_eq!(coordinator.placed(), ["high"]);
    assert_eq!(coordinator.job("high").gang().unwrap().recruits.len(), 1);
}

#[test]
fn a_preemption_is_remembered_by_the_next_coordinator() {
    let (mut coordinator, ranks) = training(1);
    coordinator.commit(&ranks[0], 0, 0..1).unwrap();
    coordinator.submit(urgent("high", 1));
    coordinator.crash();
    let workers: Vec<_> = coordinator.state.workers.keys().cloned().collect();
    for worker in workers {
        let process = LivingProcess {
            process: ranks[0].process.clone(),
            pid: 1,
        };
        coordinator.attach_with(description(worker.as_str(), &["cpu"]), &[process]);
    }
    assert_eq!(coordinator.drained().len(), 1);
    assert_eq!(coordinator.news(&ranks[0]).leave, STORE);
    coordinator.store(&ranks[0], 0, 1).unwrap();
    coordinator.exited(&ranks[0], LEFT);
    assert_eq!(coordinator.placed(), ["high"]);
    coordinator.crash();
    assert_eq!(coordinator.job("low").preempted_by(), Some(&job("high")));
}
