//! The confinement of one container. A first process holds the namespaces and tells how the container ended; a second one, the first in its
//! process namespace, mounts what the container sees, gives up its rights and becomes the program.
//!
//! Both are killed when the node is gone, and with the second all processes of the container.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::{self, File},
    io::{Read as _, Write as _, stdin},
    os::{
        fd::AsRawFd as _,
        unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::Context as _;
use caps::{CapSet, Capability};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{prctl, signal::Signal},
    unistd::{Gid, Uid, chroot, setgid, setgroups, sethostname, setuid},
};
use serde::{Deserialize, Serialize};

/// Status of a container whose program could not be started.
pub(super) const NOT_STARTED: u8 = 128;
/// What a container finds in `/dev`.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What a container is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Confinement {
    /// Process in whose network it is.
    pub(super) network: u32,
    /// Root file system of its image.
    pub(super) image: PathBuf,
    /// Folder for what it writes into that.
    pub(super) layer: PathBuf,
    /// Written when it could not be started.
    pub(super) failure: PathBuf,
    pub(super) hostname: String,
    pub(super) mounts: Vec<Mount>,
    pub(super) read_only_root: bool,
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) more_groups: Vec<u32>,
    pub(super) no_new_privileges: bool,
    /// Names of the capabilities that its programs can have at most.
    pub(super) capabilities: Vec<String>,
    pub(super) working_folder: PathBuf,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) command: Vec<String>,
}

/// A file or folder of this machine that a container sees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Mount {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) read_only: bool,
}

/// The first process.
///
/// # Errors
/// If this is not root.
pub fn confine() -> anyhow::Result<ExitCode> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut text = String::new();
    // Its end comes when the node has put this process into its control group: what follows is in there, too.
    stdin().read_to_string(&mut text)?;
    let container: Confinement = serde_json::from_str(&text)?;
    setns(
        File::open(format!("/proc/{}/ns/net", container.network))?,
        CloneFlags::CLONE_NEWNET,
    )?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC)?;
    let mut program = Command::new("/proc/self/exe")
        .arg("enter")
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = program.stdin.take().context("its input is a pipe")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let status = program.wait()?;
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    let code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or_default();
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}

/// The second process; it returns only if the program cannot be started.
pub fn enter() -> ExitCode {
    let Err(error) = try_to_enter();
    eprintln!("{error:#}");
    ExitCode::from(NOT_STARTED)
}

fn try_to_enter() -> anyhow::Result<Infallible> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let mut text = String::new();
    stdin().read_to_string(&mut text)?;
    let container: Confinement = serde_json::from_str(&text)?;
    // Opened before this machine is out of sight.
    let mut failure = File::create(&container.failure)?;
    let Err(error) = become_program(&container);
    failure.write_all(format!("{error:#}").as_bytes())?;
    Err(error)
}

fn become_program(container: &Confinement) -> anyhow::Result<Infallible> {
    sethostname(&container.hostname)?;
    mount_all(container)?;
    fs::create_dir_all(&container.working_folder)?;
    if container.read_only_root {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).context("the root cannot be made read-only")?;
    }
    give_up_rights(container)?;
    let (program, arguments) = container.command.split_first().context("no command specified")?;
    let error = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&container.environment)
        .current_dir(&container.working_folder)
        .stdin(Stdio::null())
        .exec();
    Err(error).with_context(|| format!("exec: {program:?}"))
}

/// The container's root, and in it what it sees of this machine.
fn mount_all(container: &Confinement) -> anyhow::Result<()> {
    let mut mounts: Vec<Mount> = DEVICES.map(device_mount).into();
    mounts.extend(container.mounts.iter().cloned());
    let open = |mount: &Mount| {
        let file = File::options()
            .read(true)
            .custom_flags(nix::libc::O_PATH)
            .open(&mount.from);
        file.with_context(|| format!("{} cannot be mounted", mount.from.display()))
    };
    let sources: Vec<File> = mounts.iter().map(open).collect::<Result<_, _>>()?;
    let sys = File::options()
        .read(true)
        .custom_flags(nix::libc::O_PATH)
        .open("/sys")?;
    let [upper, work, root] = ["upper", "work", "root"].map(|name| container.layer.join(name));
    for folder in [&upper, &work, &root] {
        fs::create_dir_all(folder)?;
    }
    keep_mounts_private()?;
    let layers = format!(
        "lowerdir={},upperdir={},workdir={}",
        container.image.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        &root,
        Some("overlay"),
        MsFlags::empty(),
        Some(layers.as_str()),
    )
    .context("the overlay")?;
    // From here on links in the image lead to where they lead in the container.
    chroot(&root)?;
    std::env::set_current_dir("/")?;
    mount_system(&sys)?;
    for (wanted, source) in mounts.iter().zip(&sources) {
        bind(wanted, source).with_context(|| format!("{} cannot be mounted", wanted.to.display()))?;
    }
    Ok(())
}

/// `/proc`, `/sys`, and a `/dev` without devices.
fn mount_system(sys: &File) -> anyhow::Result<()> {
    for folder in ["/proc", "/sys", "/dev"] {
        fs::create_dir_all(folder)?;
    }
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), None::<&str>).context("/proc")?;
    let sys = format!("/proc/self/fd/{}", sys.as_raw_fd());
    mount(
        Some(sys.as_str()),
        "/sys",
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .context("/sys")?;
    mount(Some("tmpfs"), "/dev", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).context("/dev")?;
    fs::create_dir_all("/dev/shm")?;
    mount(
        Some("tmpfs"),
        "/dev/shm",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=1777,size=64m"),
    )?;
    std::os::unix::fs::symlink("/proc/self/fd", "/dev/fd")?;
    std::os::unix::fs::symlink("/proc/self/fd/1", "/dev/stdout")?;
    std::os::unix::fs::symlink("/proc/self/fd/2", "/dev/stderr")?;
    Ok(())
}

fn device_mount(device: &str) -> Mount {
    let path = Path::new("/dev").join(device);
    Mount {
        from: path.clone(),
        to: path,
        read_only: false,
    }
}

fn bind(wanted: &Mount, source: &File) -> anyhow::Result<()> {
    if source.metadata()?.is_dir() {
        fs::create_dir_all(&wanted.to)?;
    } else {
        fs::create_dir_all(wanted.to.parent().unwrap_or(Path::new("/")))?;
        if !wanted.to.exists() {
            File::create(&wanted.to)?;
        }
    }
    let source = format!("/proc/self/fd/{}", source.as_raw_fd());
    mount(
        Some(source.as_str()),
        &wanted.to,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )?;
    if wanted.read_only {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &wanted.to, None::<&str>, flags, None::<&str>)?;
    }
    Ok(())
}

fn give_up_rights(container: &Confinement) -> anyhow::Result<()> {
    for capability in caps::all() {
        let is_kept = container
            .capabilities
            .iter()
            .any(|name| *name == capability.to_string());
        if !is_kept && is_in_bounds(capability)? {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::clear(None, CapSet::Inheritable)?;
    let groups: Vec<Gid> = container.more_groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups)?;
    setgid(Gid::from_raw(container.group))?;
    setuid(Uid::from_raw(container.user))?;
    if container.no_new_privileges {
        prctl::set_no_new_privs()?;
    }
    Ok(())
}

/// A kernel may not know all of them.
fn is_in_bounds(capability: Capability) -> anyhow::Result<bool> {
    Ok(caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false))
}

/// What is mounted from now on in this namespace is seen by nobody outside.
pub(super) fn keep_mounts_private() -> nix::Result<()> {
    let everything = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, everything, None::<&str>)
}
