//! Chaos: random stories of machines, agents, ranks, messages and coordinators that fail, told to the core by a model of the world outside.
//!
//! The model is honest: ranks follow the real protocol, a step is made only by all ranks of a generation together, and what each rank has
//! learned is a value, so that two states that differ are seen to differ. After every action all named invariants hold; and when the
//! faults stop, every job ends.
//!
//! A story that fails is shortened, and written down with all that happened in it; the message says where. Environment:
//!
//! - `FIRN_SIMULATION_CASES`: stories in each weather (100); `FIRN_SIMULATION_CASES=5000 cargo test --release -p firn-core simulation` is a
//!   longer run;
//! - `FIRN_SIMULATION_SEED`: the first number that stories are made from (1), so that two runs need not tell the same ones;
//! - `FIRN_SIMULATION_REPLAY`: a file with a story, which is told again, and nothing else.

mod actions;
mod invariants;
mod outside;
mod person;
mod story;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use actions::{Action, Weather};
use invariants::{Tally, WORTH_TELLING};
use outside::{Log, Outside};
use story::Stories;

/// Stories in each weather.
const USUAL_CASES: u64 = 100;

#[test]
fn in_a_storm_the_invariants_hold_and_every_job_ends() {
    simulate(Weather::Storm);
}

#[test]
fn in_changeable_weather_the_invariants_hold_and_every_job_ends() {
    simulate(Weather::Changeable);
}

#[test]
fn on_machines_that_come_and_go_the_invariants_hold_and_every_job_ends() {
    simulate(Weather::Rented);
}

#[test]
fn over_a_bad_network_the_invariants_hold_and_every_job_ends() {
    simulate(Weather::Unconnected);
}

/// Tells many stories.
fn simulate(weather: Weather) {
    if let Some(path) = person::file("FIRN_SIMULATION_REPLAY") {
        if weather == Weather::Storm {
            replay(&path);
        }
        return;
    }
    let cases = person::setting("FIRN_SIMULATION_CASES", USUAL_CASES);
    let seed = person::setting("FIRN_SIMULATION_SEED", 1);
    let config = Config {
        cases: u32::try_from(cases).expect("the number of stories fits 32 bits"),
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8] = weather as u8;
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let tally = RefCell::new(Tally::new());
    let told = runner.run(&Stories::in_weather(weather), |story| {
        let happened = tell(&story, None).map_err(TestCaseError::fail)?;
        let mut tally = tally.borrow_mut();
        happened
            .into_iter()
            .for_each(|(what, times)| *tally.entry(what).or_default() += times);
        Ok(())
    });
    match told {
        Ok(()) => something_happened(&tally.into_inner(), cases),
        Err(TestError::Fail(reason, story)) => explain(&story, &format!("{weather:?}-{seed}"), reason.message()),
        Err(TestError::Abort(reason)) => panic!("no stories could be made: {reason}"),
    }
}

/// Shows what happened in the stories (`--nocapture`), which is a lot, if there were enough of them.
fn something_happened(tally: &Tally, cases: u64) {
    println!("{cases} stories");
    for (what, times) in tally {
        println!("{times:>9} times: {what}");
    }
    let missing: Vec<&str> = WORTH_TELLING
        .into_iter()
        .filter(|what| !tally.contains_key(what))
        .collect();
    assert!(
        cases < USUAL_CASES || missing.is_empty(),
        "in none of {cases} stories {missing:?}"
    );
}

/// Tells one story; what happened in it, or what was broken.
fn tell(story: &[Action], log: Option<Log>) -> Result<Tally, String> {
    let mut outside = Outside::new(log);
    for (number, action) in story.iter().enumerate() {
        outside.act(number, *action);
        if outside.broken.is_some() {
            break;
        }
    }
    if outside.broken.is_none() {
        outside.heal();
    }
    match outside.broken.take() {
        None => Ok(outside.tally().clone()),
        Some(broken) => Err(broken),
    }
}

/// Tells a story that fails once more and writes down all that happens.
fn explain(story: &[Action], name: &str, reason: &str) -> ! {
    let file = story::write(story, &format!("simulation-{name}")).expect("the story can be written down");
    let events = record(story, &file);
    panic!(
        "{reason}\nthe story has {} actions: {}\nwhat happened: {events}\ntell it again with FIRN_SIMULATION_REPLAY={} cargo test -p firn-core \
         simulation",
        story.len(),
        file.display(),
        file.display(),
    );
}

fn record(story: &[Action], file: &Path) -> String {
    let log = Log::new(RefCell::new(Vec::new()));
    let shared = Rc::clone(&log);
    let ended = catch_unwind(AssertUnwindSafe(|| tell(story, Some(shared))));
    let verdict = match ended {
        Ok(Ok(_)) => "nothing is broken".to_owned(),
        Ok(Err(broken)) => broken,
        Err(_) => "a panic".to_owned(),
    };
    let path = file.with_extension("log");
    let mut lines = log.borrow().clone();
    lines.push(verdict.clone());
    person::leave(&path, &lines).expect("the events can be written down");
    format!("{} ({verdict})", path.display())
}

fn replay(path: &Path) {
    let story = story::read(path);
    let events = record(&story, path);
    println!("what happened: {events}");
    if let Err(broken) = tell(&story, None) {
        panic!("{broken}");
    }
}
