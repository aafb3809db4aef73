//! Plays the agents.

use firn_core::identifiers::{ProcessId, RankIdentity, StreamId};
use firn_core::state::*;
use firn_core::{Input, Reply};

use super::{Coordinator, description, exit};

impl Coordinator {
    pub(crate) fn attach(&mut self, name: &str, devices: &[&str]) -> StreamId {
        self.attach_with(description(name, devices), &[]).0
    }

    pub(crate) fn attach_with(
        &mut self,
        description: WorkerDescription,
        processes: &[LivingProcess],
    ) -> (StreamId, Vec<ProcessId>) {
        self.streams += 1;
        let stream = StreamId(self.streams);
        match self.accept(Input::AgentAttached {
            description,
            processes: processes.to_vec(),
            stream,
        }) {
            Reply::Welcome(welcome) => (stream, welcome.unwanted),
            other => panic!("expected a welcome, found {other:?}"),
        }
    }

    pub(crate) fn attach_cpus(&mut self, names: &[&str]) {
        for name in names {
            self.attach(name, &["cpu"]);
        }
    }

    pub(crate) fn heartbeat_all(&mut self) {
        for (worker, stream) in self.state.soft.streams.as_ref().clone() {
            self.accept(Input::AgentHeartbeat { worker, stream });
        }
    }

    /// Time passes with all connected agents alive.
    pub(crate) fn live(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds / 2_000 {
            self.pass(2_000);
            self.heartbeat_all();
            self.pulse_all();
        }
        self.pass(milliseconds % 2_000);
    }

    /// The coordinator is stopped for a while: no tick comes, and what agents and ranks say lies in the sockets. Then it wakes.
    pub(crate) fn sleep(&mut self, milliseconds: u64) {
        self.now = self.now + milliseconds;
        self.accept(Input::Woken { slept: milliseconds });
    }

    pub(crate) fn exited(&mut self, identity: &RankIdentity, ending: Ending) {
        let Some(process) = self.state.processes.get(&identity.process) else {
            return;
        };
        let worker = process.worker.clone();
        self.accept(Input::RankExited {
            worker,
            process: identity.process.clone(),
            exit: exit(ending),
        });
    }

    /// Processes that were told to stop do so.
    pub(crate) fn obey(&mut self) {
        let stopping = self
            .state
            .processes
            .iter()
            .filter(|(_, process)| process.stop.is_some());
        let stopping: Vec<_> = stopping
            .map(|(id, process)| (id.clone(), process.worker.clone()))
            .collect();
        for (process, worker) in stopping {
            self.accept(Input::RankExited {
                worker,
                process,
                exit: exit(Ending::Exited(12)),
            });
        }
    }
}
