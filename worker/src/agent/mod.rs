//! One agent a machine: offers its slots, starts a rank process on each when told to, and never loses hold of one.
//!
//! A single task owns everything and waits in one `select!`: the stream to the coordinator, the ends of rank processes, grace periods, signals.
//! What the agent decides by itself is little: a rank lives exactly as long as the coordinator and the agent both want it. A coordinator that is
//! away changes nothing: the ranks go on, what they print and how they end waits on disk (`spool`, `state_folder`), and the next stream begins
//! with the list of those alive. An agent that dies takes its ranks along ([`lifeline`]); one that is told to stop, or whose job is over, sees
//! them off (`departure`, `dedication`).

mod attach_error;
mod board;
mod coordinator_folder;
mod dedication;
mod departure;
mod epochs;
mod exit_status;
mod files;
mod launch;
pub mod lifeline;
mod link;
mod memory_kills;
mod process;
mod rank;
mod ranks;
mod settings;
mod slots;
mod spool;
mod state_folder;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use firn_core::compatibility::Revision;
use firn_proto::v1alpha1::{AgentHello, Slot, Welcome, agent_command::Command};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::sleep_until,
};
use tracing::{info, warn};

pub use self::{
    attach_error::AttachError,
    lifeline::LaunchArguments,
    settings::{AgentArguments, SettingsError},
    state_folder::StateFolderError,
};
use self::{
    board::{Board, Shown},
    dedication::Dedication,
    departure::Departure,
    exit_status::ExitStatus,
    launch::Launcher,
    link::{Link, LinkEvent},
    process::RankEvent,
    ranks::Ranks,
    settings::Settings,
    state_folder::StateFolder,
};
use crate::machine;

/// Runs the agent until SIGTERM or SIGINT, or until the job is over that it is there for. [`AgentArguments`] says what the exit status means.
///
/// # Errors
/// If the settings are wrong, the state folder is in use, or the coordinator refuses this worker for good.
pub fn run(arguments: AgentArguments) -> anyhow::Result<ExitCode> {
    let settings = arguments.resolve()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(serve(settings))
}

async fn serve(settings: Settings) -> anyhow::Result<ExitCode> {
    // Before anything can be started, so that no signal finds the default action.
    let signals = Signals::listen().context("cannot listen for signals")?;
    let folder = StateFolder::open(&settings.state_dir)?;
    let name = settings
        .worker_name(&folder)
        .context("cannot write to the state folder")?;
    let address = settings.reachable_address();
    let slots = slots::discover(&settings.slots).await;
    let launcher = Launcher::new(
        settings.connection.clone(),
        address.clone(),
        slots.clone(),
        settings.rank_command.clone(),
    )?;
    let board = Board::open(settings.health_listen)?;
    let epochs = folder.epochs(&settings.connection.coordinator);
    let (events, event_queue) = unbounded_channel();
    let ranks = Ranks::open(folder, launcher, settings.log_limit, events).context("cannot read the state folder")?;
    info!(
        worker = name,
        address,
        coordinator = settings.connection.coordinator,
        "agent started"
    );
    let hello = AgentHello {
        worker: name,
        host: machine::host_name(),
        address,
        slots: slots.slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: Revision::CURRENT.0,
        processes: Vec::new(),
        instance_id: uuid::Uuid::new_v4().to_string(),
        ..AgentHello::default()
    };
    let agent = Agent {
        hello: settings.dedication.introduce(hello),
        dedication: settings.dedication,
        ranks,
        events: event_queue,
        link: Link::new(settings.connection, epochs),
        signals,
        grace: settings.grace,
        departure: None,
        deliver_until: None,
        last_failure: None,
        board,
    };
    agent.run().await
}

/// How long an agent that leaves tries to deliver what its ranks said last.
const FAREWELL_DEADLINE: Duration = Duration::from_secs(5);

struct Agent {
    /// Opens every stream, with the processes of the moment.
    hello: AgentHello,
    ranks: Ranks,
    /// A few events a rank, each when a process starts or ends.
    events: UnboundedReceiver<RankEvent>,
    link: Link,
    signals: Signals,
    grace: Duration,
    dedication: Dedication,
    departure: Option<Departure>,
    /// All ranks have ended, and what they said last may be delivered until then.
    deliver_until: Option<Instant>,
    /// Why the last attempt failed, so that the same reason is told once.
    last_failure: Option<String>,
    board: Board,
}

impl Agent {
    async fn run(mut self) -> anyhow::Result<ExitCode> {
        let lines_changed = self.ranks.lines_changed();
        while !self.has_left() {
            self.show().await;
            let wants_to_send = self.ranks.has_messages() || self.must_announce();
            let hello = || hello_with_processes(&self.hello, &self.ranks);
            tokio::select! {
                () = self.signals.received() => self.told_to_stop(),
                event = self.events.recv() => self.ranks.on_event(event.expect("the ranks hold a sender")),
                () = lines_changed.notified(), if !wants_to_send => {}
                () = reached(self.ranks.next_deadline()) => self.ranks.enforce_deadlines(Instant::now()),
                () = reached(self.departure.as_ref().and_then(Departure::next_deadline)) => self.go_on_leaving(),
                () = reached(self.deliver_until) => {}
                event = self.link.next(hello, wants_to_send) => self.on_link(event)?,
            }
        }
        info!("agent leaves");
        for command in self.link.leave().await {
            self.acknowledge(&command);
        }
        let when_stopped = self
            .departure
            .map(|departure| departure.exit_status(self.ranks.kills()));
        Ok(self.dedication.exit_code(when_stopped.unwrap_or(ExitStatus::Done)))
    }

    async fn show(&self) {
        let now = || Shown {
            is_attached: self.link.is_up(),
            ranks_alive: self.ranks.alive(),
            lines_waiting: self.ranks.lines_waiting(),
            exits: self.ranks.exits().clone(),
        };
        self.board.show(now).await;
    }

    fn on_link(&mut self, event: LinkEvent) -> anyhow::Result<()> {
        match event {
            LinkEvent::Attached(welcome) => self.attached(&welcome).context("cannot use the state folder")?,
            LinkEvent::Ready => {
                if let Some(departure) = self.departure.as_mut().filter(|departure| departure.must_announce()) {
                    self.link.send(departure.announce(Instant::now()));
                } else if let Some(message) = self.ranks.next_message() {
                    self.link.send(message);
                }
            }
            LinkEvent::Command(command) => self.obey(command),
            LinkEvent::Down(reason) => {
                if self.last_failure.as_ref() != Some(&reason) {
                    warn!(reason, "not connected to the coordinator, trying again; ranks go on");
                    self.last_failure = Some(reason);
                }
            }
            LinkEvent::Refused(error) => {
                return Err(error.into());
            }
        }
        Ok(())
    }

    fn attached(&mut self, welcome: &Welcome) -> std::io::Result<()> {
        info!(
            epoch = welcome.coordinator_epoch,
            lease_ms = welcome.lease_ms,
            "attached to the coordinator"
        );
        self.last_failure = None;
        if !self.ranks.serve(&welcome.coordinator_id)? {
            self.link.disconnect();
            return Ok(());
        }
        if !welcome.awaited_job.is_empty() {
            info!(
                job = welcome.awaited_job,
                "nobody has submitted the job yet that this agent is there for; waiting for it"
            );
        }
        self.ranks.begin_stream();
        if let Some(departure) = &mut self.departure {
            departure.begin_stream();
        }
        for process_id in &welcome.unwanted_processes {
            warn!(
                process = process_id,
                "the coordinator no longer wants this rank, killing it"
            );
            self.ranks.stop(process_id, Duration::ZERO);
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        let epoch = match &command {
            Command::StartRank(order) => order.coordinator_epoch,
            Command::StopRank(order) => order.coordinator_epoch,
            Command::JobEnded(ended) => ended.coordinator_epoch,
            _ => 0,
        };
        if self.link.epochs().is_outdated(epoch) {
            let newest = self.link.epochs().newest();
            warn!(
                epoch,
                newest, "not following an order of a coordinator from which another has taken over"
            );
            return;
        }
        match command {
            // The first message of a stream, and only that, is a welcome.
            Command::Welcome(_) => warn!("a second welcome on one stream is ignored"),
            Command::StartRank(order) if self.is_leaving() => {
                warn!(process = order.process_id, "not starting a rank, this agent is leaving");
                self.ranks.refuse(&order, "the agent is shutting down");
            }
            Command::StartRank(order) => self.ranks.start(&order),
            Command::StopRank(order) => self
                .ranks
                .stop(&order.process_id, Duration::from_millis(u64::from(order.grace_ms))),
            Command::JobEnded(ended) => self.dedication.job_ended(&ended),
            Command::LogAck(_) | Command::ExitAck(_) => self.acknowledge(&command),
        }
    }

    fn acknowledge(&mut self, command: &Command) {
        match command {
            Command::LogAck(ack) => self.ranks.acknowledge_lines(&ack.process_id, ack.next_sequence),
            Command::ExitAck(ack) => self.ranks.acknowledge_exit(&ack.process_id),
            _ => {}
        }
    }

    /// The first signal asks the ranks to hand over and leave, the second kills them.
    fn told_to_stop(&mut self) {
        let now = Instant::now();
        if self.departure.is_none() {
            info!(
                grace_s = self.grace.as_secs_f64(),
                "told to stop; the ranks hand over and leave"
            );
            let departure = Departure::begin(self.grace, now, self.link.is_up(), self.ranks.kills());
            self.departure = Some(departure);
        } else {
            warn!("told to stop again; killing all ranks");
            self.ranks.stop_all(Duration::ZERO);
        }
    }

    fn must_announce(&self) -> bool {
        self.departure.as_ref().is_some_and(Departure::must_announce)
    }

    fn go_on_leaving(&mut self) {
        let now = Instant::now();
        if let Some(departure) = &mut self.departure
            && departure.tell_ranks(now)
        {
            self.ranks.stop_all(departure.kill_at.saturating_duration_since(now));
        }
    }

    fn is_leaving(&self) -> bool {
        self.departure.is_some() || self.dedication.is_over()
    }

    fn has_left(&mut self) -> bool {
        if !self.is_leaving() || self.ranks.any_alive() {
            return false;
        }
        let now = Instant::now();
        let deliver_until = *self.deliver_until.get_or_insert_with(|| now + FAREWELL_DEADLINE);
        // One that was told to stop has little time; one whose job is over waits for a coordinator that is away for a moment.
        let is_cut_off = self.departure.is_some() && !self.link.is_up();
        let has_delivered = self.link.is_up() && self.ranks.all_sent();
        is_cut_off || has_delivered || deliver_until <= now
    }
}

fn hello_with_processes(hello: &AgentHello, ranks: &Ranks) -> AgentHello {
    let slots = hello.slots.iter().map(|slot| Slot {
        job: ranks.job_on(slot.index).unwrap_or_default().to_owned(),
        ..slot.clone()
    });
    AgentHello {
        slots: slots.collect(),
        processes: ranks.processes(),
        ..hello.clone()
    }
}

/// Waits for a moment, or for ever if there is none.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment.into()).await,
        None => std::future::pending().await,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
