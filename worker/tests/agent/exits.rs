//! How soon the coordinator hears of a rank that was killed: every survivor waits for that.

use std::time::{Duration, Instant};

use firn_proto::v1alpha1::agent_message::Message;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    coordinator::{Coordinator, Session},
    process::Agent,
};

/// Starts a rank, kills it once it is `ready`, and says how long the report of its end took.
fn time_to_report(session: &Session, process_id: &str) -> Duration {
    session.start_rank(process_id);
    let pid = session.wait_for_start();
    session.wait_for_line("ready");
    let killed = Instant::now();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let exit = session.wait_for_exit();
    let took = killed.elapsed();
    assert_eq!(
        (exit.process_id.as_str(), exit.signal, exit.out_of_memory),
        (process_id, Some(9), false)
    );
    session.acknowledge_exit(process_id);
    took
}

#[test]
fn a_rank_that_is_killed_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let _agent = Agent::start(folder.path(), coordinator.address, "echo ready; exec sleep 1000");
    let session = coordinator.session();
    let mut times: Vec<Duration> = (0..20)
        .map(|number| time_to_report(&session, &format!("p{number}")))
        .collect();
    times.sort();
    println!(
        "from kill -9 to the report at the coordinator: median {:?}, longest {:?} of {}",
        times[times.len() / 2],
        times[times.len() - 1],
        times.len()
    );
    assert!(times[times.len() / 2] < Duration::from_millis(250), "{times:?}");
}

#[test]
fn a_process_that_got_away_from_a_killed_rank_with_its_output_does_not_hold_the_report_up() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let script = "setsid sleep 20 & echo ready; exec sleep 1000";
    let _agent = Agent::start(folder.path(), coordinator.address, script);
    let session = coordinator.session();
    let took = time_to_report(&session, "p1");
    println!("with the output held open: {took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[test]
fn every_rank_leads_a_session_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let coordinator = Coordinator::start();
    let script = r#"echo "$$ $(cut -d' ' -f5,6 /proc/$$/stat)""#;
    let _agent = Agent::start(folder.path(), coordinator.address, script);
    let session = coordinator.session();
    for process_id in ["p1", "p2"] {
        session.start_rank(process_id);
        let pid = session.wait_for_start();
        let line = session.wait_for(|message| match message {
            Message::Logs(batch) => Some(batch.lines[0].text.clone()),
            _ => None,
        });
        assert_eq!(line, format!("{pid} {pid} {pid}"), "process, group, session");
    }
}
