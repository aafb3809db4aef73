//! What can happen, and how often.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// Something that happens. The numbers choose among what is there when it happens, so an action keeps its meaning when others are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// A person submits a job.
    Submit(Wish),
    /// A person's call arrives once more.
    SubmitAgain(u8),
    /// A person ends a job.
    Cancel(u8),
    /// A person suspends a job.
    Suspend(u8),
    /// Or resumes it.
    Resume(u8),
    /// A person changes how many workers a job has: so many at least, and so many more at most.
    Scale { job: u8, fewest: u8, more: u8 },
    /// A person sets the most that a namespace may hold, or takes that back.
    SetQuota {
        /// Which namespace.
        namespace: u8,
        /// Slots; many are no limit.
        slots: u8,
        /// Jobs; many are no limit.
        jobs: u8,
    },
    /// A person takes a worker out of use.
    Drain(u8),
    /// Or back into it.
    Undrain(u8),
    /// An agent that is there opens its stream; one that is not starts.
    Attach(u8),
    /// The next agent of a machine is there for one job alone; `job` is its number, also if nobody has submitted so many.
    Dedicate { machine: u8, job: u8 },
    /// A stream breaks.
    Detach(u8),
    /// An agent is told to end, with so many seconds of grace.
    Terminate { machine: u8, grace: u8 },
    /// An agent dies, and its ranks with it.
    KillAgent(u8),
    /// A machine loses its power: nobody hears it go.
    PowerOff(u8),
    /// An agent is stopped (SIGSTOP), or goes on.
    FreezeAgent(u8),
    /// A machine loses its link, or has it again.
    Partition(u8),
    /// A rank ends: by kill -9, by another signal, or with a status.
    End { rank: u8, how: u8 },
    /// A rank is stopped (SIGSTOP).
    Freeze(u8),
    /// A stopped rank goes on.
    Thaw(u8),
    /// A rank that trains no longer moves, but pulses.
    Hang(u8),
    /// A rank gets SIGTERM.
    TerminateRank(u8),
    /// A rank says why it cannot go on, and exits.
    Fail { rank: u8, why: u8 },
    /// A bit of a rank's state flips.
    Corrupt(u8),
    /// The next step of a job is not finite.
    Poison(u8),
    /// A stored checkpoint is damaged.
    Spoil(u8),
    /// A message arrives, whatever was sent before it.
    Deliver(u16),
    /// A message is on its way twice.
    Duplicate(u16),
    /// A message gets lost; its sender learns that the connection broke.
    Drop(u16),
    /// A message takes longer than those that are sent after it.
    Delay(u16),
    /// A message of long ago arrives once more.
    Repeat(u16),
    /// An agent gets its next command.
    Command(u8),
    /// The coordinator gets an agent's next message.
    Report(u8),
    /// A rank does the next thing.
    Advance(u8),
    /// Predictions have been scored.
    Score(u8),
    /// The coordinator dies and starts again.
    Crash,
    /// The coordinator dies after the next commit: nobody hears what it decided.
    CrashAfterCommit,
    /// The coordinator hears nobody for so many milliseconds, and then wakes.
    Sleep(u16),
    /// Milliseconds pass.
    Pass(u16),
    /// So many rounds in which what can arrive arrives, and every rank does the next things.
    Calm(u8),
}

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Fewest workers, from 1.
    pub(crate) fewest: u8,
    /// So many more at most.
    pub(crate) more: u8,
    /// Slots on each worker, from 1.
    pub(crate) slots: u8,
    /// Losses that the job survives.
    pub(crate) restarts: u8,
    /// 0: train; 1: and validation; 2: and test.
    pub(crate) splits: u8,
    /// Epochs, from 1.
    pub(crate) epochs: u8,
    /// Steps give the same numbers on any ranks.
    pub(crate) strict: bool,
    /// Whose it is.
    #[serde(default)]
    pub(crate) namespace: u8,
    /// Higher ones are served first.
    #[serde(default)]
    pub(crate) priority: u8,
    /// It drains nobody.
    #[serde(default)]
    pub(crate) patient: bool,
    /// Only machines of zone `a` or `b` will do.
    #[serde(default)]
    pub(crate) zone: Option<char>,
}

/// A quota of so much is none.
pub(crate) const NO_LIMIT: u8 = 7;

fn wish() -> impl Strategy<Value = Wish> {
    let size = (1..4u8, 0..3u8, 1..3u8);
    let plan = (prop_oneof![1 => 0..3u8, 4 => 3..40u8], 0..3u8, 1..5u8, any::<bool>());
    let zone = prop_oneof![10 => Just(None), 1 => Just(Some('a')), 1 => Just(Some('b'))];
    let turn = (
        0..3u8,
        prop_oneof![2 => Just(0u8), 1 => 1..4u8],
        prop::bool::weighted(0.2),
    );
    let together = |((fewest, more, slots), (restarts, splits, epochs, strict), zone, turn)| {
        let (namespace, priority, patient) = turn;
        Wish {
            fewest,
            more,
            slots,
            restarts,
            splits,
            epochs,
            strict,
            zone,
            namespace,
            priority,
            patient,
        }
    };
    (size, plan, zone, turn).prop_map(together)
}

/// How rough a story is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything happens all the time.
    Storm,
    /// Mostly work, now and then a fault: jobs get far.
    Changeable,
    /// Machines come and go.
    Rented,
    /// The network and the coordinator are at fault.
    Unconnected,
}

/// One action.
pub(crate) fn action(weather: Weather) -> BoxedStrategy<Action> {
    use Weather::{Changeable, Rented, Storm, Unconnected};
    // Faults of people and agents, of ranks, of messages and the coordinator; and quiet.
    let (machines, ranks, messages, quiet) = match weather {
        Storm => (6, 12, 12, 30),
        Changeable => (2, 7, 4, 40),
        Rented => (10, 3, 3, 30),
        Unconnected => (2, 4, 30, 40),
    };
    prop_oneof![
        3 => wish().prop_map(Action::Submit),
        machines => machine_fault(),
        ranks => rank_fault(),
        messages => message_fault(),
        40 => progress(),
        quiet => (1..4u8).prop_map(Action::Calm),
        6 => prop_oneof![4 => 1..100u16, 4 => 100..2_000u16, 2 => 2_000..12_000u16, 1 => 12_000..40_000u16].prop_map(Action::Pass),
    ]
    .boxed()
}

fn machine_fault() -> impl Strategy<Value = Action> {
    prop_oneof![
        1 => any::<u8>().prop_map(Action::Cancel),
        2 => any::<u8>().prop_map(Action::Suspend),
        2 => any::<u8>().prop_map(Action::Resume),
        2 => (any::<u8>(), 1..4u8, 0..3u8).prop_map(|(job, fewest, more)| Action::Scale { job, fewest, more }),
        2 => any::<u8>().prop_map(Action::SubmitAgain),
        2 => (0..3u8, 0..10u8, 1..10u8).prop_map(|(namespace, slots, jobs)| Action::SetQuota { namespace, slots, jobs }),
        2 => any::<u8>().prop_map(Action::Drain),
        3 => any::<u8>().prop_map(Action::Undrain),
        10 => any::<u8>().prop_map(Action::Attach),
        1 => (any::<u8>(), 0..5u8).prop_map(|(machine, job)| Action::Dedicate { machine, job }),
        3 => any::<u8>().prop_map(Action::Detach),
        2 => (any::<u8>(), prop_oneof![Just(1u8), Just(5), Just(30)]).prop_map(|(machine, grace)| Action::Terminate { machine, grace }),
        2 => any::<u8>().prop_map(Action::KillAgent),
        1 => any::<u8>().prop_map(Action::PowerOff),
        2 => any::<u8>().prop_map(Action::FreezeAgent),
        2 => any::<u8>().prop_map(Action::Partition),
    ]
}

fn rank_fault() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (any::<u8>(), 0..10u8).prop_map(|(rank, how)| Action::End { rank, how }),
        3 => any::<u8>().prop_map(Action::Freeze),
        4 => any::<u8>().prop_map(Action::Thaw),
        2 => any::<u8>().prop_map(Action::Hang),
        2 => any::<u8>().prop_map(Action::TerminateRank),
        1 => (any::<u8>(), 0..8u8).prop_map(|(rank, why)| Action::Fail { rank, why }),
        2 => any::<u8>().prop_map(Action::Corrupt),
        2 => any::<u8>().prop_map(Action::Poison),
        3 => any::<u8>().prop_map(Action::Spoil),
    ]
}

fn message_fault() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => any::<u16>().prop_map(Action::Duplicate),
        4 => any::<u16>().prop_map(Action::Drop),
        4 => any::<u16>().prop_map(Action::Delay),
        6 => any::<u16>().prop_map(Action::Repeat),
        1 => Just(Action::Crash),
        1 => Just(Action::CrashAfterCommit),
        1 => (1..20_000u16).prop_map(Action::Sleep),
    ]
}

fn progress() -> impl Strategy<Value = Action> {
    prop_oneof![
        14 => any::<u16>().prop_map(Action::Deliver),
        5 => any::<u8>().prop_map(Action::Command),
        5 => any::<u8>().prop_map(Action::Report),
        14 => any::<u8>().prop_map(Action::Advance),
        3 => any::<u8>().prop_map(Action::Score),
    ]
}
