//! What a decision costs when ten thousand jobs wait: figures for people; they are printed, and nothing is asserted of time.
//!
//! `cargo test --release --workspace --lib engine::tests::queue_figures -- --ignored --nocapture`

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

use firn_core::{
    Now,
    identifiers::{Namespace, ProcessId, StreamId, WorkerName},
    queue::quota::Quota,
    state::{Ending, RankExit, Slot, WorkerDescription},
};

use super::*;

const JOBS: usize = 10_000;
const NAMESPACES: usize = 20;
const WORKERS: usize = 100;
const SLOTS: u32 = 8;
/// Decisions of each kind.
const ROUNDS: usize = 200;

/// What a decision took: the time that passed, and that in which this thread had a processor. They differ where others work, too.
struct Took {
    elapsed: Duration,
    processor: Duration,
}

fn processor_time() -> Duration {
    let clock = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    clock.expect("a thread has a clock").into()
}

/// A coordinator without a shell, with a clock for what it takes to decide.
struct Fleet {
    state: State,
    now: u64,
}

impl Fleet {
    /// Workers that are full, and the jobs that wait behind those which run.
    fn crowded() -> Self {
        let state = State::new(Settings {
            unfinished_jobs: 2 * JOBS,
            // Nobody is heard here: nobody is lost for it.
            lease: u64::MAX / 2,
            start_timeout: u64::MAX / 2,
            ..Settings::default()
        });
        let mut fleet = Self { state, now: 1_000_000 };
        fleet.give(Input::CoordinatorStarted);
        for number in (0..NAMESPACES).step_by(4) {
            fleet.give(Input::SetQuota {
                namespace: Namespace::from(format!("team-{number}")),
                quota: Some(Quota {
                    slots: Some(16),
                    jobs: None,
                }),
            });
        }
        for number in 0..WORKERS {
            fleet.attach(number);
        }
        let running = WORKERS * SLOTS as usize / 2;
        for number in 0..JOBS + running {
            fleet.submit(number);
        }
        fleet.pass(1_000);
        fleet
    }

    fn give(&mut self, input: Input) -> Took {
        self.now += 1;
        let shown = format!("{input:?}");
        let (begin, processor) = (Instant::now(), processor_time());
        let decided = firn_core::decide(&self.state, Now(self.now), input);
        let decision = decided.unwrap_or_else(|reject| panic!("{shown}: {reject}"));
        firn_core::enact(&mut self.state, &decision);
        Took {
            elapsed: begin.elapsed(),
            processor: processor_time() - processor,
        }
    }

    fn pass(&mut self, milliseconds: u64) -> Took {
        self.now += milliseconds;
        self.give(Input::Tick)
    }

    fn attach(&mut self, number: usize) -> Took {
        let slot = |index| Slot {
            index,
            device: "cpu".to_owned(),
            description: String::new(),
            memory_bytes: 1 << 30,
        };
        let description = WorkerDescription {
            name: WorkerName::from(format!("w{number:04}")),
            host: format!("host-{number}"),
            slots: (0..SLOTS).map(slot).collect(),
            ..serde_json::from_value(serde_json::json!({
                "name": "w", "host": "h", "address": "127.0.0.1", "version": "0", "instance": "first", "slots": [],
            }))
            .expect("it is valid")
        };
        self.give(Input::AgentAttached {
            description,
            processes: Vec::new(),
            stream: StreamId(number as u64),
        })
    }

    /// One or two workers with one or two slots each, of three priorities; none drains another.
    fn submit(&mut self, number: usize) -> Took {
        let mut spec = spec(&format!("job-{number}"));
        spec.metadata.namespace = format!("team-{}", number % NAMESPACES);
        spec.scheduling.priority = (number / NAMESPACES % 3) as u32;
        spec.scheduling.preemption_policy = firn_core::spec::PreemptionPolicy::Never;
        spec.resources.workers.min = 1 + (number / 7 % 2) as u32;
        spec.resources.workers.max = spec.resources.workers.min;
        spec.resources.slots_per_worker = 1 + (number / 11 % 2) as u32;
        self.give(Input::Submit { spec: Arc::new(spec) })
    }

    /// The last rank of a job that was cancelled ends: its slots are given to another.
    fn replace(&mut self) -> Vec<Took> {
        let running = self.state.jobs.values().find(|job| job.gang().is_some());
        let job = running.expect("some run").id.clone();
        let mut took = vec![self.give(Input::Cancel { job: job.clone() })];
        let of_job = self.state.processes.iter().filter(|(_, process)| process.job == job);
        let processes: Vec<(ProcessId, WorkerName)> = of_job
            .map(|(id, process)| (id.clone(), process.worker.clone()))
            .collect();
        for (process, worker) in processes {
            took.push(self.give(Input::RankExited {
                worker,
                process,
                exit: RankExit {
                    ending: Ending::Exited(0),
                    last_log_lines: Vec::new(),
                    out_of_memory: false,
                },
            }));
        }
        took
    }

    fn queued(&self) -> usize {
        self.state.jobs.values().filter(|job| job.is_queued()).count()
    }
}

fn print(what: &str, took: Vec<Took>) {
    println!("{what}: {} decisions", took.len());
    let elapsed = took.iter().map(|took| took.elapsed).collect();
    let processor = took.iter().map(|took| took.processor).collect();
    print_times("passed", elapsed);
    print_times("of a processor", processor);
}

fn print_times(which: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "    {which:<14} median {:>6.2} ms, p99 {:>6.2} ms, longest {:>6.2} ms",
        milliseconds(times[times.len() / 2]),
        milliseconds(times[times.len() * 99 / 100]),
        milliseconds(times[times.len() - 1])
    );
}

#[test]
#[ignore = "prints figures; see the module's first lines"]
fn a_decision_beside_ten_thousand_jobs_that_wait() {
    let mut fleet = Fleet::crowded();
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    println!("processor: {}", model.map_or("not known", |(_, model)| model));
    println!(
        "{} jobs wait in {NAMESPACES} namespaces, {WORKERS} workers with {SLOTS} slots each",
        fleet.queued()
    );
    let replaced = (0..ROUNDS).flat_map(|_| fleet.replace()).collect();
    print("a job ends, others get its slots", replaced);
    let submitted = (0..ROUNDS).flat_map(|number| [fleet.submit(100_000 + number), fleet.pass(100)]);
    print("a job is submitted, and it is looked at", submitted.collect());
    print("a tick", (0..ROUNDS).map(|_| fleet.pass(10)).collect());
    let attached = (0..ROUNDS).flat_map(|number| [fleet.attach(WORKERS + number), fleet.pass(100)]);
    print("a worker attaches, and its slots are given", attached.collect());
    println!("{} jobs wait then", fleet.queued());
    print("a coordinator starts", vec![fleet.give(Input::CoordinatorStarted)]);
}
