//! A rank never outlives its agent, not even one that was killed with SIGKILL.
//!
//! The kernel can do that (`PR_SET_PDEATHSIG`), but only the child can ask for it, and only for a parent that still lives. So the agent
//! names its process id in the environment, and the child first asks, then compares: if its parent is another by now, the agent died in
//! between and the child ends itself. The signal follows the *thread* that started the child; the agent therefore starts each rank from a
//! thread that waits for it (see `process`). Doing this in the child, rather than between fork and exec, needs no `unsafe`.
//!
//! For the same reason the child begins its own session here. A rank with a session (and so a process group) of its own can be killed together
//! with all that it started, hears nothing of the agent's terminal, and is scheduled by itself: Linux shares processors among sessions first
//! (sched(7), "The autogroup feature").

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::{prctl, signal::Signal},
    unistd::{getppid, setsid},
};

/// Environment variable with the process id of the agent.
pub const AGENT_PID: &str = "FIRN_AGENT_PID";

/// Arguments of the hidden `firn-worker launch`.
#[derive(Debug, clap::Args)]
pub struct LaunchArguments {
    /// Program and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Why this process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum LifelineError {
    /// The variable holds something else than a process id.
    #[error("{AGENT_PID} should hold the agent's process id, but holds `{found}`")]
    NotAProcess {
        /// What it holds.
        found: String,
    },
    /// The kernel refused.
    #[error("cannot bind this process to the life of its agent: {0}")]
    Refused(#[from] nix::Error),
    /// The agent died while this process started.
    #[error("the agent that started this process (process {agent}) is gone")]
    AgentGone {
        /// Its process id.
        agent: i32,
    },
}

/// Binds this process to its agent's life, and begins a session. Does nothing in a process that no agent started.
///
/// # Errors
/// If the agent is gone already: the caller must end.
pub fn bind() -> Result<(), LifelineError> {
    let Ok(found) = std::env::var(AGENT_PID) else {
        return Ok(());
    };
    let agent: i32 = found.parse().map_err(|_| LifelineError::NotAProcess { found })?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw() != agent {
        return Err(LifelineError::AgentGone { agent });
    }
    match setsid() {
        // EPERM: it leads a group already, so that all of it can be signalled just as well.
        Ok(_) | Err(Errno::EPERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Binds this process, then becomes the program: the binding survives.
///
/// # Errors
/// If the agent is gone, or the program cannot be started.
pub fn launch(arguments: &LaunchArguments) -> anyhow::Result<ExitCode> {
    bind()?;
    let (program, rest) = arguments.command.split_first().context("no program was named")?;
    let error = Command::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot start `{}`", program.to_string_lossy()))
}
