//! The rank processes of this agent, and what of them the coordinator still has to hear.

mod delivery;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::{Duration, Instant},
};

use firn_proto::v1alpha1 as wire;
use nix::sys::signal::Signal;
use tokio::sync::{Notify, mpsc::UnboundedSender};
use tracing::{error, info, warn};

use super::{
    coordinator_folder::{CoordinatorFolder, ProcessRecord},
    launch::Launcher,
    memory_kills::{self, MemoryKills},
    process::{self, Output, RankEvent},
    rank::Rank,
    spool::{SpoolReader, SpoolWriter},
    state_folder::StateFolder,
};

/// All rank processes.
#[derive(Debug)]
pub(crate) struct Ranks {
    state: StateFolder,
    /// The coordinator that is served; empty: none that says who it is was met yet.
    coordinator: String,
    /// What belongs to it.
    folder: CoordinatorFolder,
    launcher: Launcher,
    log_limit: u64,
    events: UnboundedSender<RankEvent>,
    lines_changed: Arc<Notify>,
    ranks: BTreeMap<String, Rank>,
    finished: VecDeque<String>,
    memory_kills: MemoryKills,
    next_look: Instant,
    kills: u64,
    /// Ends so far, by how they ended.
    exits: BTreeMap<&'static str, u64>,
}

impl Ranks {
    /// Begins with what earlier agents on this folder did not deliver to a coordinator that did not say who it is: whichever is met may hear
    /// of that.
    pub(crate) fn open(
        state: StateFolder,
        launcher: Launcher,
        log_limit: u64,
        events: UnboundedSender<RankEvent>,
    ) -> io::Result<Self> {
        let mut ranks = Self {
            folder: state.of_coordinator(""),
            coordinator: String::new(),
            state,
            launcher,
            log_limit,
            events,
            lines_changed: Arc::new(Notify::new()),
            ranks: BTreeMap::new(),
            finished: VecDeque::new(),
            memory_kills: MemoryKills::of_this_process(),
            next_look: Instant::now(),
            kills: 0,
            exits: BTreeMap::new(),
        };
        ranks.take_up()?;
        Ok(ranks)
    }

    /// The coordinator of this id answers; one that does not say who it is counts as the one before. What an earlier agent did not
    /// deliver to it is taken up; what was meant for another one stays in that one's folder. False, and nothing is changed, while ranks
    /// of another one live: they are killed, since nobody is left who could want them.
    pub(crate) fn serve(&mut self, coordinator: &str) -> io::Result<bool> {
        if coordinator.is_empty() || coordinator == self.coordinator {
            return Ok(true);
        }
        if !self.coordinator.is_empty() {
            if self.any_alive() {
                warn!(
                    coordinator,
                    before = self.coordinator,
                    "another coordinator answers; killing the ranks of the one before"
                );
                self.stop_all(Duration::ZERO);
                return Ok(false);
            }
            self.ranks.clear();
            self.finished.clear();
        }
        coordinator.clone_into(&mut self.coordinator);
        self.folder = self.state.of_coordinator(coordinator);
        self.take_up()?;
        Ok(true)
    }

    /// Takes up what earlier agents did not deliver to the present coordinator.
    fn take_up(&mut self) -> io::Result<()> {
        for (record, exit) in self.folder.left_behind()? {
            if self.ranks.contains_key(&record.process_id) {
                continue;
            }
            info!(
                process = record.process_id,
                job = record.job,
                "reporting a rank that ended with an earlier agent"
            );
            let (mut rank, _) = self.new_rank(record, None)?;
            rank.exit = Some(exit);
            self.ranks.insert(rank.record.process_id.clone(), rank);
        }
        Ok(())
    }

    /// Told when a rank has printed something.
    pub(crate) fn lines_changed(&self) -> Arc<Notify> {
        Arc::clone(&self.lines_changed)
    }

    /// Starts a process, unless it is known.
    pub(crate) fn start(&mut self, order: &wire::StartRank) {
        let process_id = &order.process_id;
        if self.ranks.contains_key(process_id) || self.finished.contains(process_id) {
            return;
        }
        let record = ProcessRecord {
            process_id: process_id.clone(),
            job: order.job.clone(),
            generation: order.generation,
        };
        if let Err(reason) = self.launch(record, order) {
            error!(process = process_id, job = order.job, reason, "rank not started");
            let exit = wire::RankExited {
                process_id: process_id.clone(),
                start_error: reason,
                ..wire::RankExited::default()
            };
            self.ended(exit);
        }
    }

    /// Answers an order that cannot be followed.
    pub(crate) fn refuse(&mut self, order: &wire::StartRank, reason: &str) {
        if !self.ranks.contains_key(&order.process_id) {
            self.ended(wire::RankExited {
                process_id: order.process_id.clone(),
                start_error: reason.to_owned(),
                ..wire::RankExited::default()
            });
        }
    }

    fn launch(&mut self, record: ProcessRecord, order: &wire::StartRank) -> Result<(), String> {
        let refused = |error: io::Error| format!("the agent's state folder: {error}");
        self.folder.note_start(&record).map_err(refused)?;
        let scratch = self.folder.scratch_folder(&order.job).map_err(refused)?;
        let (rank, output) = self.new_rank(record, Some(order.slot)).map_err(refused)?;
        if !self.any_alive() {
            self.memory_kills.begin();
            self.next_look = Instant::now() + memory_kills::LOOK_INTERVAL;
        }
        let process_id = rank.record.process_id.clone();
        let rank = self.ranks.entry(process_id).or_insert(rank);
        let launch = self.launcher.order(order, &scratch)?;
        rank.hold = process::start(launch, output, self.events.clone())
            .map_err(|error| format!("no thread for the rank: {error}"))?;
        info!(
            process = order.process_id,
            job = order.job,
            generation = order.generation,
            rank = order.rank,
            slot = order.slot,
            "starting a rank"
        );
        Ok(())
    }

    fn new_rank(&self, record: ProcessRecord, slot: Option<u32>) -> io::Result<(Rank, Output)> {
        let folder = self.folder.rank_folder(&record.process_id);
        let writer = SpoolWriter::open(&folder, self.log_limit)?;
        let lines = Arc::new(AtomicU64::new(writer.next_sequence()));
        let reader = SpoolReader::open(&folder)?;
        let output = Output {
            spool: Arc::new(Mutex::new(writer)),
            lines: Arc::clone(&lines),
            changed: Arc::clone(&self.lines_changed),
        };
        let rank = Rank::new((record, self.folder.clone()), slot, lines, reader);
        Ok((rank, output))
    }

    /// Takes in what a rank's threads report.
    pub(crate) fn on_event(&mut self, event: RankEvent) {
        match event {
            RankEvent::Started { process_id, pid } => {
                if let Some(rank) = self.ranks.get_mut(&process_id) {
                    rank.pid = Some(pid);
                    // The order to stop may have come before the process was there.
                    if rank.killed {
                        rank.hold.signal(Signal::SIGKILL);
                    } else if rank.kill_at.is_some() {
                        rank.hold.signal(Signal::SIGTERM);
                    }
                }
            }
            RankEvent::Ended(mut exit) => {
                self.explain(&mut exit);
                info!(
                    process = exit.process_id,
                    code = exit.exit_code,
                    signal = exit.signal,
                    out_of_memory = exit.out_of_memory,
                    "rank ended"
                );
                self.ended(exit);
            }
        }
    }

    /// Says who sent a SIGKILL.
    fn explain(&mut self, exit: &mut wire::RankExited) {
        if exit.signal != Some(Signal::SIGKILL as i32) {
            return;
        }
        if self.ranks.get(&exit.process_id).is_some_and(|rank| rank.killed) {
            self.kills += 1;
        } else {
            exit.out_of_memory = self.memory_kills.attribute();
        }
    }

    /// Ranks that ended because this agent killed them.
    pub(crate) fn kills(&self) -> u64 {
        self.kills
    }

    fn ended(&mut self, exit: wire::RankExited) {
        *self.exits.entry(kind_of(&exit)).or_default() += 1;
        let rank = self.ranks.get(&exit.process_id);
        let folder = rank.map_or(&self.folder, |rank| &rank.folder);
        if let Err(error) = folder.note_exit(&exit) {
            warn!(process = exit.process_id, %error, "the exit is only in memory, the state folder cannot take it");
        }
        match self.ranks.get_mut(&exit.process_id) {
            Some(rank) => {
                rank.kill_at = None;
                rank.exit = Some(exit);
            }
            None => self.insert_failed_start(exit),
        }
    }

    /// A start that failed before there was a spool.
    fn insert_failed_start(&mut self, exit: wire::RankExited) {
        let record = ProcessRecord {
            process_id: exit.process_id.clone(),
            job: String::new(),
            generation: 0,
        };
        let reader = SpoolReader::without_lines(&self.folder.rank_folder(&record.process_id));
        let mut rank = Rank::new((record, self.folder.clone()), None, Arc::default(), reader);
        rank.exit = Some(exit);
        self.ranks.insert(rank.record.process_id.clone(), rank);
    }

    /// SIGTERM now, SIGKILL after `grace`. An earlier, shorter deadline stays.
    pub(crate) fn stop(&mut self, process_id: &str, grace: Duration) {
        let Some(rank) = self.ranks.get_mut(process_id).filter(|rank| rank.is_alive()) else {
            return;
        };
        if grace.is_zero() {
            rank.kill();
        } else if !rank.killed {
            let kill_at = Instant::now() + grace;
            rank.kill_at = Some(rank.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
            rank.hold.signal(Signal::SIGTERM);
        }
    }

    /// The same for all that live.
    pub(crate) fn stop_all(&mut self, grace: Duration) {
        let living: Vec<String> = self.living().map(|rank| rank.record.process_id.clone()).collect();
        for process_id in living {
            self.stop(&process_id, grace);
        }
    }

    /// When [`Ranks::enforce_deadlines`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let moments = self.living().map(|rank| rank.kill_at.unwrap_or(self.next_look));
        moments.map(|moment| moment.min(self.next_look)).min()
    }

    /// Kills those whose grace has ended, and looks at the count of out-of-memory kills now and then.
    pub(crate) fn enforce_deadlines(&mut self, now: Instant) {
        if self.next_look <= now {
            self.memory_kills.look();
            self.next_look = now + memory_kills::LOOK_INTERVAL;
        }
        for rank in self.ranks.values_mut().filter(|rank| rank.is_alive()) {
            if rank.kill_at.is_some_and(|kill_at| kill_at <= now) {
                warn!(
                    process = rank.record.process_id,
                    "rank did not stop within its grace period, killing it"
                );
                rank.kill();
            }
        }
    }

    fn living(&self) -> impl Iterator<Item = &Rank> {
        self.ranks.values().filter(|rank| rank.is_alive())
    }

    /// Ends so far, by how they ended.
    pub(crate) fn exits(&self) -> &BTreeMap<&'static str, u64> {
        &self.exits
    }

    /// Processes that run or are being started.
    pub(crate) fn alive(&self) -> u64 {
        self.living().count() as u64
    }

    /// Lines that the coordinator has not taken yet.
    pub(crate) fn lines_waiting(&self) -> u64 {
        self.ranks.values().map(Rank::unacknowledged_lines).sum()
    }

    /// True if a process runs or is being started.
    pub(crate) fn any_alive(&self) -> bool {
        self.living().next().is_some()
    }

    /// Processes that are alive, for the opening of a stream.
    pub(crate) fn processes(&self) -> Vec<wire::RankProcess> {
        self.living()
            .map(|rank| wire::RankProcess {
                process_id: rank.record.process_id.clone(),
                job: rank.record.job.clone(),
                generation: rank.record.generation,
                pid: rank.pid.unwrap_or(0),
            })
            .collect()
    }

    /// The job on each slot that is taken.
    pub(crate) fn job_on(&self, slot: u32) -> Option<&str> {
        self.living()
            .find(|rank| rank.slot == Some(slot))
            .map(|rank| rank.record.job.as_str())
    }
}

/// How a process ended, in a few words.
fn kind_of(exit: &wire::RankExited) -> &'static str {
    match (exit.exit_code, exit.signal) {
        _ if !exit.start_error.is_empty() => "not_started",
        _ if exit.out_of_memory => "out_of_memory",
        (Some(0), _) => "ok",
        (Some(_), _) => "failed",
        (None, _) => "killed",
    }
}
