//! Machines and their agents, and the clock.

use firn_core::identifiers::{InstanceId, JobId, ProcessId, StreamId};
use firn_core::state::*;
use firn_core::{Effect, Input, Now, Reply, StartRank};

use super::ranks::Rank;
use super::{Agent, MACHINES, Outside, SLOTS, name, zone};
use crate::bench::description;

/// Between two pulses of a rank, and two heartbeats of an agent.
const BEAT: u64 = 500;

impl Outside {
    /// What comes through to an agent that acts.
    fn is_reachable(&self, machine: usize) -> bool {
        let machine = &self.machines[machine];
        !machine.is_cut_off && matches!(machine.agent, Agent::Up | Agent::Draining { .. })
    }

    pub(super) fn attach(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        if of.agent == Agent::Down {
            of.agent = Agent::Up;
            of.instance += 1;
            of.is_dismissed = false;
            of.serves = of.next_serves.take().or(of.serves.take());
        }
        if of.stream.is_some() || !self.is_reachable(machine) {
            return;
        }
        let of = &self.machines[machine];
        let mut described = description(name(machine).as_str(), &["cpu"; SLOTS]);
        described.instance = InstanceId::from(of.instance.to_string());
        described.serves.job = of.serves.clone();
        described.labels = [("zone".to_owned(), zone(machine).to_string())].into();
        let living = |rank: &Rank| LivingProcess {
            process: rank.process.clone(),
            pid: 7,
        };
        let processes = self
            .ranks
            .values()
            .filter(|rank| rank.machine == machine)
            .map(living)
            .collect();
        self.streams += 1;
        let stream = StreamId(self.streams);
        self.machines[machine].stream = Some(stream);
        let answer = self.tell(Input::AgentAttached {
            description: described,
            processes,
            stream,
        });
        match answer {
            Some(Ok(Reply::Welcome(welcome))) => {
                for process in welcome.unwanted {
                    self.end_rank(&process, Ending::Killed(9));
                }
                if let Agent::Draining { .. } = self.machines[machine].agent {
                    self.machines[machine].messages.push_front(Input::AgentDraining {
                        worker: name(machine),
                        stream,
                    });
                }
            }
            _ => self.machines[machine].stream = None,
        }
    }

    /// Jobs are named by their number.
    pub(super) fn dedicate(&mut self, machine: usize, job: u8) {
        let id = match job {
            0 => JobId::from("job"),
            number => JobId::from(format!("job-{}", number + 1)),
        };
        self.machines[machine].next_serves = Some(id);
    }

    /// The next agent is there for all; one that is there for one job ends.
    pub(super) fn let_serve_all(&mut self, machine: usize) {
        if self.machines[machine].serves.is_some() {
            self.kill_agent(machine);
        }
        let of = &mut self.machines[machine];
        (of.serves, of.next_serves) = (None, None);
    }

    pub(super) fn detach(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.commands.clear();
        if let Some(stream) = of.stream.take() {
            self.tell(Input::AgentDetached {
                worker: name(machine),
                stream,
            });
        }
    }

    /// The agent dies, and its ranks with it. What it had noted on disk, the next one tells.
    pub(super) fn kill_agent(&mut self, machine: usize) {
        if self.machines[machine].agent == Agent::Down {
            return;
        }
        let remembers = self.coin();
        self.kill_ranks(machine);
        let of = &mut self.machines[machine];
        of.agent = Agent::Down;
        if !remembers {
            of.messages.clear();
            of.known.clear();
        }
        of.messages
            .retain(|message| matches!(message, Input::RankExited { .. }));
        self.detach(machine);
    }

    fn kill_ranks(&mut self, machine: usize) {
        for process in self.ranks_on(machine) {
            self.end_rank(&process, Ending::Killed(9));
        }
    }

    fn ranks_on(&self, machine: usize) -> Vec<ProcessId> {
        let ranks = self.ranks.values().filter(|rank| rank.machine == machine);
        ranks.map(|rank| rank.process.clone()).collect()
    }

    /// The machine is gone, and no connection of it is closed.
    pub(super) fn power_off(&mut self, machine: usize) {
        for process in self.ranks_on(machine) {
            self.ranks.remove(&process);
        }
        let of = &mut self.machines[machine];
        (of.agent, of.stream) = (Agent::Down, None);
        of.commands.clear();
        of.messages.clear();
        of.known.clear();
    }

    pub(super) fn freeze_agent(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.agent = match of.agent {
            Agent::Up => Agent::Frozen,
            Agent::Frozen => Agent::Up,
            other => other,
        };
    }

    pub(super) fn partition(&mut self, machine: usize) {
        let of = &mut self.machines[machine];
        of.is_cut_off = !of.is_cut_off;
    }

    /// SIGTERM: the coordinator is told first, then the ranks.
    pub(super) fn terminate_agent(&mut self, machine: usize, grace: u8) {
        if self.machines[machine].agent != Agent::Up {
            return;
        }
        let now = self.core.now;
        let of = &mut self.machines[machine];
        of.agent = Agent::Draining {
            kill_at: now + 1_000 * u64::from(grace),
        };
        if let Some(stream) = of.stream {
            of.messages.push_front(Input::AgentDraining {
                worker: name(machine),
                stream,
            });
        }
        for rank in self.ranks.values_mut().filter(|rank| rank.machine == machine) {
            rank.terminated.get_or_insert(now);
        }
    }

    pub(super) fn deliver_command(&mut self, machine: usize) {
        if !self.is_reachable(machine) || self.machines[machine].stream.is_none() {
            return;
        }
        match self.machines[machine].commands.pop_front() {
            Some(Effect::StartRank(start)) => self.start_rank(machine, &start),
            Some(Effect::DismissAgent { job, .. }) => {
                let of = &mut self.machines[machine];
                of.is_dismissed |= of.serves.as_ref() == Some(&job);
            }
            Some(Effect::StopRank { process, grace: 0, .. }) => self.end_rank(&process, Ending::Killed(9)),
            Some(Effect::StopRank { process, grace, .. }) => {
                let now = self.core.now;
                if let Some(rank) = self.ranks.get_mut(&process) {
                    rank.terminated.get_or_insert(now);
                    let kill_at = now + grace;
                    rank.kill_at = Some(rank.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
                }
            }
            _ => {}
        }
    }

    fn start_rank(&mut self, machine: usize, start: &StartRank) {
        let of = &mut self.machines[machine];
        if of.known.contains(&start.process) {
            return;
        }
        let (worker, process) = (name(machine), start.process.clone());
        of.known.push(process.clone());
        if of.is_dismissed || matches!(of.agent, Agent::Draining { .. }) {
            let exit = exit(Ending::NotStarted("the agent is leaving".to_owned()));
            of.messages.push_back(Input::RankExited { worker, process, exit });
            return;
        }
        let pid = 7;
        of.messages.push_back(Input::RankStarted {
            worker,
            process: process.clone(),
            pid,
        });
        self.ranks.insert(process, Rank::new(start, machine));
    }

    pub(super) fn deliver_message(&mut self, machine: usize) -> bool {
        if !self.is_reachable(machine) || self.machines[machine].stream.is_none() {
            return false;
        }
        let Some(message) = self.machines[machine].messages.pop_front() else {
            return false;
        };
        self.remember(&message);
        if self.tell(message.clone()).is_none() {
            // It was not acknowledged.
            self.machines[machine].messages.push_front(message);
        }
        true
    }

    /// A rank process ends; its agent will tell.
    pub(super) fn end_rank(&mut self, process: &ProcessId, ending: Ending) {
        if let Some(rank) = self.ranks.remove(process) {
            self.bury(&rank, ending);
        }
    }

    pub(super) fn bury(&mut self, rank: &Rank, ending: Ending) {
        self.note(|_| format!("    {} ends: {ending:?}", rank.process));
        self.leave_collective(rank);
        self.machines[rank.machine].messages.push_back(Input::RankExited {
            worker: name(rank.machine),
            process: rank.process.clone(),
            exit: exit(ending),
        });
    }

    /// Time passes; what lives gives signs of life.
    pub(super) fn pass(&mut self, milliseconds: u64) {
        let end = self.core.now + milliseconds;
        while self.core.now < end && self.broken.is_none() {
            let next = self.core.now + end.since(self.core.now).min(BEAT);
            self.tick_until(next);
            self.core.now = next;
            self.keep_deadlines();
            for machine in 0..MACHINES {
                self.heartbeat(machine);
            }
            self.beat_all();
            self.end_long_polls();
        }
    }

    /// The coordinator is suspended: nobody reaches it, and no time passes for it. Then it wakes.
    pub(super) fn sleep(&mut self, milliseconds: u64) {
        self.core.now = self.core.now + milliseconds;
        self.tell(Input::Woken { slept: milliseconds });
        self.tick_until(self.core.now);
        self.keep_deadlines();
    }

    fn tick_until(&mut self, next: Now) {
        while let Some(deadline) = firn_core::deadline(&self.core.state).filter(|at| *at <= next) {
            self.core.now = self.core.now.max(deadline);
            self.tell(Input::Tick);
            if let Some(again) = firn_core::deadline(&self.core.state).filter(|again| *again <= self.core.now) {
                self.fail(format!(
                    "invariant `a tick leaves nothing that is due` is broken: {again} is due at {}",
                    self.core.now
                ));
                return;
            }
        }
    }

    fn heartbeat(&mut self, machine: usize) {
        if let (true, Some(stream)) = (self.is_reachable(machine), self.machines[machine].stream) {
            let input = Input::AgentHeartbeat {
                worker: name(machine),
                stream,
            };
            if let Some(Err(_)) = self.tell(input) {
                self.machines[machine].stream = None;
                self.machines[machine].commands.clear();
            }
        }
    }

    /// Agents kill whom they have to, and leave when nobody is left.
    pub(super) fn keep_deadlines(&mut self) {
        let now = self.core.now;
        for machine in 0..MACHINES {
            let agent = self.machines[machine].agent;
            let acts = matches!(agent, Agent::Up | Agent::Draining { .. });
            let all_are_due = matches!(agent, Agent::Draining { kill_at } if kill_at <= now);
            for process in self.ranks_on(machine) {
                let is_due = self.ranks[&process].kill_at.is_some_and(|at| at <= now);
                if acts && (is_due || all_are_due) {
                    self.end_rank(&process, Ending::Killed(9));
                }
            }
            let leaves = matches!(agent, Agent::Draining { .. }) || (acts && self.machines[machine].is_dismissed);
            if leaves && self.ranks_on(machine).is_empty() {
                self.say_farewell(machine);
            }
        }
    }

    fn say_farewell(&mut self, machine: usize) {
        while self.deliver_message(machine) {}
        if let (true, Some(stream)) = (self.is_reachable(machine), self.machines[machine].stream) {
            self.tell(Input::AgentLeaving {
                worker: name(machine),
                stream,
            });
        }
        let of = &mut self.machines[machine];
        of.agent = Agent::Down;
        // Its work is done: nobody starts another one in its place.
        if of.is_dismissed {
            of.serves = None;
        }
        self.detach(machine);
    }
}

fn exit(ending: Ending) -> RankExit {
    RankExit {
        ending,
        last_log_lines: Vec::new(),
        out_of_memory: false,
    }
}
