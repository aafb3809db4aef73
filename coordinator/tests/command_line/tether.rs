//! What `firn run` starts must die with it, also when it is killed.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::firn::{command, run};

#[test]
fn a_tethered_process_dies_when_its_parent_is_killed() {
    // The pipe stays open for as long as the shell or the program lives.
    let script = format!(
        "{} tether --parent $$ -- sh -c 'echo started; exec sleep 600' & wait",
        env!("CARGO_BIN_EXE_firn")
    );
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");

    parent.kill().unwrap();
    parent.wait().unwrap();

    let (sender, ended) = mpsc::channel();
    thread::spawn(move || sender.send(output.read_to_end(&mut Vec::new()).unwrap()));
    ended
        .recv_timeout(Duration::from_secs(30))
        .expect("the program is dead and its end of the pipe closed");
}

#[test]
fn a_tether_to_somebody_elses_process_is_refused() {
    let left = run(command(&["tether", "--parent", "1", "--", "true"]));
    assert_eq!(left.code, 1, "{left:?}");
    assert!(left.talk.contains("has ended"), "{left:?}");
}

#[test]
fn a_program_that_does_not_exist_is_named() {
    let parent = std::process::id().to_string();
    let left = run(command(&["tether", "--parent", &parent, "--", "/nonexistent/program"]));
    assert_eq!(left.code, 1, "{left:?}");
    assert!(left.talk.contains("cannot start /nonexistent/program"), "{left:?}");
}
