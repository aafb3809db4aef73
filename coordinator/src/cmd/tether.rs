//! `firn tether`, hidden: becomes another program that dies with its parent.
//!
//! Linux kills a process whose parent ends if the process has asked for it (`PR_SET_PDEATHSIG`), and the wish outlives
//! `execve`. It has to be asked for in the child; doing that between fork and exec needs `unsafe`, so the child runs
//! this verb first and then becomes the program. `firn run` starts everything this way: even if it is killed with
//! SIGKILL, nothing stays behind.

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process::Command};

use clap::Args;
use nix::{
    sys::{prctl, signal::Signal},
    unistd::{Pid, getppid},
};

use super::error::CommandError;

/// Becomes COMMAND, and dies with the process PARENT
#[derive(Debug, Args)]
pub struct TetherArgs {
    /// Process id of the parent
    #[arg(long)]
    parent: i32,
    /// Program and arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Returns only if the program could not be started. Must run on the main thread: the wish belongs to a thread, and
/// `execve` keeps the caller's.
///
/// # Errors
/// When the parent is gone already or the program cannot be executed.
pub fn become_command(args: TetherArgs) -> CommandError {
    if let Err(error) = prctl::set_pdeathsig(Signal::SIGKILL) {
        return CommandError::Local(format!("cannot bind this process to its parent: {error}"));
    }
    // The parent may have ended before the wish was made.
    if getppid() != Pid::from_raw(args.parent) {
        return CommandError::Local("the process that started this one has ended".to_owned());
    }
    let Some((program, arguments)) = args.command.split_first() else {
        return CommandError::Usage("no program is named".to_owned());
    };
    let error: io::Error = Command::new(program).args(arguments).exec();
    CommandError::File {
        action: "start",
        path: program.into(),
        source: error,
    }
}
