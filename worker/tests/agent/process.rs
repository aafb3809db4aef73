//! A real agent process, with a shell script where its ranks would be.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

use super::coordinator::PATIENCE;

/// A folder with a state folder, a script and named pipes. Dropping it kills the agent.
pub(crate) struct Agent {
    pub(crate) folder: PathBuf,
    script: PathBuf,
    grace: String,
    /// How it reaches the coordinator, if not by its plain address.
    pub(crate) connection: Vec<OsString>,
    /// What it is told beside that.
    pub(crate) more: Vec<&'static str>,
    /// Control groups that it enters before it begins.
    groups: Vec<PathBuf>,
    child: Option<Child>,
}

impl Agent {
    /// An agent whose ranks run `script`; `$1` in it is the folder.
    pub(crate) fn start(folder: &Path, coordinator: SocketAddr, script: &str) -> Self {
        Self::start_with_grace(folder, coordinator, script, "20s")
    }

    pub(crate) fn start_with_grace(folder: &Path, coordinator: SocketAddr, script: &str, grace: &str) -> Self {
        let mut agent = Self::prepare(folder, script);
        agent.grace = grace.to_owned();
        agent.start_again(coordinator);
        agent
    }

    /// An agent that lives in a control group.
    pub(crate) fn start_in_group(folder: &Path, coordinator: SocketAddr, script: &str, group: &Path) -> Self {
        let mut agent = Self::prepare(folder, script);
        agent.groups = vec![group.to_owned()];
        agent.start_again(coordinator);
        agent
    }

    /// One that is not started yet.
    pub(crate) fn prepare(folder: &Path, script: &str) -> Self {
        let path = folder.join("rank.sh");
        fs::write(&path, script).unwrap();
        Self {
            folder: folder.to_owned(),
            script: path,
            grace: "20s".to_owned(),
            connection: Vec::new(),
            more: Vec::new(),
            groups: Vec::new(),
            child: None,
        }
    }

    /// Starts a new process on the same folder.
    pub(crate) fn start_again(&mut self, coordinator: SocketAddr) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("agent.log"))
            .unwrap();
        let child = self
            .command(coordinator)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    /// Runs another process on the same folder to its end.
    pub(crate) fn run_second(&self, coordinator: SocketAddr) -> Output {
        self.command(coordinator).output().unwrap()
    }

    fn command(&self, coordinator: SocketAddr) -> Command {
        let mut command = Command::new("/bin/sh");
        let enter = r#"while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit; shift; done; shift; exec "$@""#;
        command.args(["-c", enter, "sh"]).args(&self.groups).arg("--");
        command.arg(env!("CARGO_BIN_EXE_firn-worker"));
        command.args([
            "agent",
            "--name",
            "w1",
            "--cpu-slots",
            "2",
            "--threads-per-slot",
            "1",
            "--grace",
            &self.grace,
        ]);
        if self.connection.is_empty() {
            command.args(["--coordinator", &format!("http://{coordinator}")]);
        }
        command.args(&self.connection).args(&self.more);
        command.arg("--state-dir").arg(self.folder.join("state"));
        command
            .arg("--rank-command")
            .arg("/bin/sh")
            .arg(&self.script)
            .arg(&self.folder);
        command
            .env_remove("FIRN_CONFIG")
            .env_remove("FIRN_TOKEN")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the agent was started");
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the agent was started");
        within_patience(move || child.wait().unwrap())
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("agent.log")).unwrap()
    }

    /// Folders of processes about which something is still to be delivered.
    pub(crate) fn undelivered(&self) -> usize {
        fs::read_dir(self.folder.join("state/ranks")).unwrap().count()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Makes a named pipe that the script opens.
pub(crate) fn pipe(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(name);
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    path
}

/// Returns when every process that holds the pipe open for writing has ended.
pub(crate) fn wait_until_closed(pipe: File) {
    let mut pipe = pipe;
    within_patience(move || pipe.read_to_end(&mut Vec::new()).unwrap());
}

/// Opens a pipe for reading; returns when someone has opened it for writing.
pub(crate) fn open_pipe(path: &Path) -> File {
    let path = path.to_owned();
    within_patience(move || File::open(path).unwrap())
}

fn within_patience<T: Send + 'static>(wait: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, waited) = mpsc::channel();
    thread::spawn(move || done.send(wait()));
    waited.recv_timeout(PATIENCE).expect("it happens in time")
}
