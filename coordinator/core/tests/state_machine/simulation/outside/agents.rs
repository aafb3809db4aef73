//! Machines and their agents, and the clock.

use firn_core::identifiers::{InstanceId, ProcessId, StreamId};
use firn_core::state::*;
use firn_core::{Effect, Input, Reply};

use super::{Next, Outside, Rank, SLOTS, WORKERS, name, pick};
use crate::bench::description;

impl Outside {
    pub(crate) fn attach(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        if of.silent || of.stream.is_some() {
            return;
        }
        if !of.runs {
            of.runs = true;
            of.instance += 1;
        }
        let mut described = description(name(machine).as_str(), &["cpu"; SLOTS]);
        described.instance = InstanceId::from(of.instance.to_string());
        let living = |process: &ProcessId| LivingProcess {
            process: process.clone(),
            pid: 7,
        };
        let processes = of.processes.keys().map(living).collect();
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.machines[machine].stream = Some(stream);
        match self.give(Input::AgentAttached {
            description: described,
            processes,
            stream,
        }) {
            Ok(Reply::Welcome(welcome)) => {
                for process in welcome.unwanted {
                    self.end_process(machine, &process, Ending::Killed(9));
                }
            }
            _ => self.machines[machine].stream = None,
        }
    }

    pub(crate) fn detach(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.commands.clear();
        if let Some(stream) = of.stream.take() {
            let _ = self.give(Input::AgentDetached {
                worker: name(machine),
                stream,
            });
        }
    }

    pub(crate) fn kill_agent(&mut self, machine: usize) {
        // Its ranks die with it, and so does what it had not told.
        let of = &mut self.machines[machine];
        of.runs = false;
        of.silent = false;
        of.processes.clear();
        of.known.clear();
        of.messages.clear();
        self.detach(machine);
    }

    pub(crate) fn leave(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.processes.clear();
        of.messages.clear();
        if let Some(stream) = of.stream {
            let _ = self.give(Input::AgentLeaving {
                worker: name(machine),
                stream,
            });
        }
        self.kill_agent(machine);
    }

    pub(crate) fn deliver_command(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        if of.silent || !of.runs {
            return;
        }
        match of.commands.pop_front() {
            Some(Effect::StartRank(start)) if !of.known.contains(&start.process) => {
                let process = start.process.clone();
                of.known.push(process.clone());
                of.processes.insert(
                    process.clone(),
                    Rank {
                        start,
                        next: Next::Join,
                    },
                );
                of.messages.push_back(Input::RankStarted {
                    worker: name(machine),
                    process,
                    pid: 7,
                });
            }
            Some(Effect::StopRank { process, .. }) => self.end_process(machine, &process, Ending::Exited(12)),
            _ => {}
        }
    }

    pub(crate) fn deliver_message(&mut self, machine: usize) {
        if self.machines[machine].silent || self.machines[machine].stream.is_none() {
            return;
        }
        if let Some(message) = self.machines[machine].messages.pop_front() {
            self.sent.push(message.clone());
            let _ = self.give(message);
        }
    }

    pub(crate) fn end_process(&mut self, machine: usize, process: &ProcessId, ending: Ending) {
        let of = &mut self.machines[machine];
        if of.processes.remove(process).is_some() {
            let exit = RankExit {
                ending,
                last_log_lines: Vec::new(),
            };
            of.messages.push_back(Input::RankExited {
                worker: name(machine),
                process: process.clone(),
                exit,
            });
        }
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) {
        let end = self.coordinator.now + milliseconds;
        while self.coordinator.now < end {
            let step = end.since(self.coordinator.now).min(2_000);
            let next = self.coordinator.now + step;
            while let Some(deadline) = firn_core::deadline(&self.coordinator.state).filter(|at| *at <= next) {
                self.coordinator.now = self.coordinator.now.max(deadline);
                let _ = self.give(Input::Tick);
                if firn_core::deadline(&self.coordinator.state).is_some_and(|again| again <= self.coordinator.now) {
                    self.fail("invariant `a tick leaves nothing that is due` is broken");
                }
            }
            self.coordinator.now = next;
            for machine in 0..WORKERS {
                let of = &self.machines[machine];
                if let (false, Some(stream)) = (of.silent, of.stream) {
                    let refused = self
                        .coordinator
                        .give(Input::AgentHeartbeat {
                            worker: name(machine),
                            stream,
                        })
                        .is_err();
                    if refused {
                        self.machines[machine].stream = None;
                        self.machines[machine].commands.clear();
                    }
                }
            }
        }
    }

    pub(crate) fn crash_coordinator(&mut self) {
        self.scores.clear();
        for machine in &mut self.machines {
            machine.stream = None;
            machine.commands.clear();
        }
        self.coordinator.crash();
        for effect in self.coordinator.take_effects() {
            self.carry_out(effect);
        }
    }

    pub(crate) fn score(&mut self, choice: u8) {
        if let Some(Effect::ScorePass { job, generation, pass }) = pick(self.scores.clone(), choice) {
            let input = Input::PassScored {
                job,
                generation,
                pass,
                roc_auc: Some(0.5),
            };
            let _ = self.give(input);
        }
    }
}
