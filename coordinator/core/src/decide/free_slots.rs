//! Which slots are free on the workers that can be reached, and which of these workers a job may be given.
//!
//! Workers that serve the same jobs and have the same labels are one *class*: whether a job may have them is asked once a class and never once
//! a worker, so that ten thousand agents and as many jobs need not be held against each other. The classes that a job may have are its
//! *circle*, and with what it needs of each worker its *audience*; jobs with equal ones have equal answers.

mod audience;
mod circle;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) use self::audience::Audience;
pub(super) use self::circle::Circle;
use self::circle::{Circles, Directory};
use crate::compatibility::{Need, Revision};
use crate::identifiers::{JobId, WorkerName};
use crate::placement::{Placement, SlotState, WorkerSlots};
use crate::spec::DeviceRequest;
use crate::state::{DeviceKind, Job, Line, Process, Serves, State, WorkerDescription};

type Labels = BTreeMap<String, String>;

/// The workers that take ranks now.
pub(super) struct Fleet {
    /// What the oldest worker speaks that is there or may come back; of this build where none is known.
    pub(super) oldest: Revision,
    classes: Vec<Class>,
    directory: Directory,
    workers: usize,
    circles: Circles,
}

/// Workers that are alike to every job.
struct Class {
    serves: Serves,
    labels: Labels,
    has_gpus: bool,
    /// Whether one of them is of an earlier build: what a job needs of workers matters to it.
    has_older: bool,
    /// By name.
    workers: Vec<WorkerSlots>,
    /// Who waits for slots of it that others hold, of each kind: nobody else gets them first.
    awaited: BTreeMap<DeviceKind, Awaited>,
}

/// A job waits for slots that others hold.
struct Awaited {
    /// In which those stand that come after.
    line: Arc<Line>,
    /// What they are told.
    said: Arc<str>,
}

/// The workers that a job may have, and what is to be said of the others.
pub(super) struct Able<'a> {
    /// Slots that are kept for a job ahead are not free.
    pub(super) workers: Cow<'a, [WorkerSlots]>,
    /// Whether there are others, which serve other jobs or lack a label.
    pub(super) is_choice: bool,
    /// Why the others will not do.
    pub(super) refusals: Vec<String>,
}

impl Fleet {
    /// As it is now. One walk over all workers: ask it once a decision.
    pub(super) fn connected(state: &State) -> Self {
        let mut taken: BTreeMap<_, Vec<u32>> = BTreeMap::new();
        for process in state.processes.values() {
            taken.entry(&process.worker).or_default().push(process.slot);
        }
        let known = state.workers.values().map(|worker| worker.description.protocol);
        let mut fleet = Self {
            oldest: known.min().unwrap_or(Revision::CURRENT),
            classes: Vec::new(),
            directory: Directory::default(),
            workers: 0,
            circles: Circles::default(),
        };
        let connected = state
            .workers
            .values()
            .filter(|worker| worker.takes_ranks() && state.is_connected(&worker.description.name));
        for worker in connected {
            let taken = taken.get(&worker.description.name).map_or(&[][..], Vec::as_slice);
            fleet.add(&worker.description, taken);
        }
        fleet
    }

    fn add(&mut self, description: &WorkerDescription, taken: &[u32]) {
        let slots = description.slots.iter().map(|slot| SlotState {
            index: slot.index,
            kind: slot.kind(),
            free: !taken.contains(&slot.index),
        });
        let slots = WorkerSlots {
            name: description.name.clone(),
            slots: slots.collect(),
        };
        let number = self.class_of(description).unwrap_or_else(|| {
            self.directory.enter(description, self.classes.len());
            self.classes.push(Class {
                serves: description.serves.clone(),
                labels: description.labels.clone(),
                has_gpus: false,
                has_older: false,
                workers: Vec::new(),
                awaited: BTreeMap::new(),
            });
            self.classes.len() - 1
        });
        let class = &mut self.classes[number];
        class.has_gpus |= slots.slots.iter().any(|slot| slot.kind == DeviceKind::Gpu);
        class.has_older |= description.protocol < Revision::CURRENT;
        class.workers.push(slots);
        self.workers += 1;
    }

    fn class_of(&self, description: &WorkerDescription) -> Option<usize> {
        self.directory.class_of(description)
    }

    /// The kind of slot that a job means: GPUs as soon as any worker that it may have has one.
    pub(super) fn kind(&self, job: &Job, circle: &Circle) -> DeviceKind {
        let has_gpus = || circle.classes().any(|class| self.classes[class].has_gpus);
        match job.spec.resources.device {
            DeviceRequest::Gpu => DeviceKind::Gpu,
            DeviceRequest::Auto if has_gpus() => DeviceKind::Gpu,
            DeviceRequest::Auto | DeviceRequest::Cpu => DeviceKind::Cpu,
        }
    }

    /// Whether workers of earlier builds are among those that a job may have.
    pub(super) fn has_older(&self, circle: &Circle) -> bool {
        circle.classes().any(|class| self.classes[class].has_older)
    }

    /// The line in which a job stands, if one ahead waits for all that it may have.
    pub(super) fn line(&self, kind: DeviceKind, circle: &Circle) -> Option<Arc<Line>> {
        let is_awaited = |class: usize| self.classes[class].awaited.contains_key(&kind);
        let all = circle.classes().all(is_awaited);
        self.any_line(kind, circle).filter(|_| all)
    }

    /// That of a job ahead that waits for a part of what this one may have.
    pub(super) fn any_line(&self, kind: DeviceKind, circle: &Circle) -> Option<Arc<Line>> {
        let mut classes = circle.classes().map(|class| &self.classes[class]);
        classes.find_map(|class| Some(Arc::clone(&class.awaited.get(&kind)?.line)))
    }

    /// Keeps the slots of a kind that a job may have for it: it waits until others give them up.
    /// `told`: the lines that there were, which go on as they are.
    pub(super) fn keep_for(
        &mut self,
        job: &JobId,
        reason: &str,
        (kind, circle): (DeviceKind, &Circle),
        told: &BTreeMap<Arc<Line>, Arc<str>>,
    ) {
        let said: Arc<str> = format!("waits behind jobs/{job}, which {reason}").into();
        for number in circle.classes() {
            let class = &mut self.classes[number];
            let new = || {
                let line = Line::Slots {
                    serves: class.serves.clone(),
                    labels: class.labels.clone(),
                    kind,
                };
                Awaited {
                    line: known_or_new(line, told),
                    said: Arc::clone(&said),
                }
            };
            class.awaited.entry(kind).or_insert_with(new);
        }
    }

    /// The lines that there are, and what those are told who stand in them.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Arc<Line>, Arc<str>)> {
        let awaited = self.classes.iter().flat_map(|class| class.awaited.values());
        awaited.map(|awaited| (Arc::clone(&awaited.line), Arc::clone(&awaited.said)))
    }

    /// The workers that a job may have and that know everything it needs.
    pub(super) fn able(&self, state: &State, audience: &Audience) -> Able<'_> {
        let classes = audience.circle.classes().map(|class| &self.classes[class]);
        let suitable: usize = classes.clone().map(|class| class.workers.len()).sum();
        let mut able = Able {
            workers: Cow::Borrowed(&[]),
            is_choice: suitable < self.workers,
            refusals: Vec::new(),
        };
        let is_plain = audience.need == Need::NOTHING && classes.clone().all(|class| class.awaited.is_empty());
        able.workers = match audience.circle.only_class() {
            Some(only) if is_plain => Cow::Borrowed(&self.classes[only].workers),
            _ => Cow::Owned(classes.flat_map(Class::as_kept).collect()),
        };
        if audience.need != Need::NOTHING {
            able.workers.to_mut().retain(|slots| {
                let refusal = too_old(state, &slots.name, &audience.need);
                let is_new_enough = refusal.is_none();
                able.refusals.extend(refusal);
                is_new_enough
            });
        }
        if able.is_choice {
            able.refusals.extend(self.passed_over(&audience.circle));
        }
        able
    }

    /// The slots of a placement are free no more.
    pub(super) fn take(&mut self, state: &State, placement: &Placement) {
        for (name, slots) in &placement.workers {
            for index in slots {
                self.set_free(state, (name, *index), false);
            }
        }
    }

    /// The slot of a process is free, or will be.
    pub(super) fn free(&mut self, state: &State, process: &Process) {
        self.set_free(state, (&process.worker, process.slot), true);
    }

    /// All slots are.
    pub(super) fn free_all(&mut self) {
        let workers = self.classes.iter_mut().flat_map(|class| &mut class.workers);
        workers
            .flat_map(|worker| &mut worker.slots)
            .for_each(|slot| slot.free = true);
    }

    fn set_free(&mut self, state: &State, (name, index): (&WorkerName, u32), is_free: bool) {
        let class = state
            .workers
            .get(name)
            .and_then(|worker| self.class_of(&worker.description));
        let Some(class) = class.map(|class| &mut self.classes[class]) else {
            return;
        };
        let found = class.workers.binary_search_by(|worker| worker.name.cmp(name));
        let slots = found.ok().map(|worker| &mut class.workers[worker].slots);
        for slot in slots.into_iter().flatten().filter(|slot| slot.index == index) {
            slot.free = is_free;
        }
    }
}

/// The same line of those that there were, if it was there: who stands in it is recognised by that at a glance.
pub(super) fn known_or_new(line: Line, told: &BTreeMap<Arc<Line>, Arc<str>>) -> Arc<Line> {
    let known = told.get_key_value(&line).map(|(known, _)| Arc::clone(known));
    known.unwrap_or_else(|| Arc::new(line))
}

impl Class {
    /// Its workers, without what is kept for a job ahead.
    fn as_kept(&self) -> impl Iterator<Item = WorkerSlots> {
        self.workers.iter().cloned().map(|mut worker| {
            for slot in &mut worker.slots {
                slot.free &= !self.awaited.contains_key(&slot.kind);
            }
            worker
        })
    }
}

fn too_old(state: &State, name: &WorkerName, need: &Need) -> Option<String> {
    let description = &state.workers.get(name)?.description;
    let who = format!("worker {}", description.name);
    need.refuses(&who, description.protocol, &description.version)
}
