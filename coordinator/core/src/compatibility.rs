//! Which revision of the protocol a job needs of the workers that train it, and because of which field.
//!
//! A worker that does not know a field would ignore it and learn something else. So agents and ranks say which revision they speak, and
//! a job is placed only on those that know everything its spec asks for, which is what [`versions`] can say to them: to revision 1 in the first
//! form of the spec, to later ones in the document without what is newer. So nothing that is added to a spec has to be listed here, and a job
//! that uses nothing new runs on the oldest workers there are, which is what lets a fleet be upgraded one machine at a time while jobs run.

use std::borrow::Cow;

pub use crate::revision::Revision;
use crate::spec::{JobSpec, settings, versions};
use crate::state::{Job, Phase};

/// What a job asks of its workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The oldest revision that will do.
    pub revision: Revision,
    /// What asks for it: the path of a field; `None`: every worker will do.
    pub because: Option<Cow<'static, str>>,
}

impl Need {
    /// What every worker has.
    pub const NOTHING: Self = Self {
        revision: Revision::OLDEST,
        because: None,
    };

    /// Of a job: of its spec, and of its checkpoints, which ranks of revision 1 may not know as its own.
    pub fn of_job(job: &Job) -> Self {
        let name = job.recorded_settings_digest.as_deref();
        match name.map(settings::is_new_to_first_program) {
            // It was made from the first form.
            Some(false) => Self::NOTHING,
            // It has none yet, and is named when its first gang is formed.
            Some(true) if job.phase == Phase::Queued => Self::of(&job.spec),
            Some(true) => match Self::of(&job.spec) {
                Self::NOTHING => Self::second("the digest in its checkpoints".into()),
                of_spec => of_spec,
            },
            None => Self::of(&job.spec),
        }
    }

    /// Of a spec: the oldest revision that knows all of it, because of what the one before does not know.
    pub fn of(spec: &JobSpec) -> Self {
        let mut need = Self::NOTHING;
        while let Err(field) = versions::known_to(need.revision, spec) {
            need = Self {
                revision: Revision(need.revision.0 + 1),
                because: Some(field),
            };
        }
        need
    }

    fn second(because: Cow<'static, str>) -> Self {
        Self {
            revision: Revision(2),
            because: Some(because),
        }
    }

    /// Why somebody who speaks `revision` will not do; `None`: they will.
    pub fn refuses(&self, who: &str, revision: Revision, build: &str) -> Option<String> {
        if revision >= self.revision {
            return None;
        }
        let (found, wanted) = (revision.0, self.revision.0);
        let field = self.because.as_deref().unwrap_or("its spec");
        Some(format!(
            "{who} speaks revision {found} (build {build}); the job needs {wanted} because of {field}"
        ))
    }
}

/// By which rules ranks find and read the samples of a job. It keeps those under which it began: by others the same files have other samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DataRules {
    /// Of the first program: bytes of names that are not UTF-8 are lost, the rows of a table without line feeds are all on its first line, and
    /// texts are cut at their end, whatever the tokenizer says.
    First,
    /// Of this build.
    #[default]
    Current,
}

impl DataRules {
    /// Of a job: the first ones if ranks of the first program have a part in it, or may come to have one.
    pub fn of_job(job: &Job) -> Self {
        match settings::is_new_to_first_program(&job.settings_digest()) {
            true => Self::Current,
            false => Self::First,
        }
    }

    /// As told on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::First => 1,
            Self::Current => 2,
        }
    }

    /// As told on the wire; by a coordinator that tells none they are those of this build.
    pub fn numbered(number: u32) -> Self {
        match number {
            1 => Self::First,
            _ => Self::Current,
        }
    }
}

/// Why an agent is not taken, whatever the jobs need; `None`: it is.
pub fn refuses_agent(revision: Revision, build: &str) -> Option<String> {
    if (Revision::OLDEST..=Revision::CURRENT).contains(&revision) {
        return None;
    }
    let (oldest, newest, found) = (Revision::OLDEST.0, Revision::CURRENT.0, revision.0);
    let advice = match revision > Revision::CURRENT {
        true => "upgrade the coordinator first",
        false => "upgrade the worker",
    };
    Some(format!(
        "this coordinator serves workers of revision {oldest} to {newest}, found revision {found} (build {build}): {advice}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_announces_nothing_is_of_the_oldest_revision() {
        assert_eq!(Revision::announced(0), Revision::OLDEST);
        assert_eq!(Revision::announced(2), Revision(2));
        assert_eq!(Revision::default(), Revision::OLDEST);
    }

    #[test]
    fn a_worker_that_is_too_old_is_told_so_with_the_field() {
        let need = Need {
            revision: Revision(2),
            because: Some("spec.task.type".into()),
        };
        assert_eq!(need.refuses("worker w1", Revision(2), "0.2.0"), None);
        assert_eq!(
            need.refuses("worker w1", Revision(1), "0.1.0").unwrap(),
            "worker w1 speaks revision 1 (build 0.1.0); the job needs 2 because of spec.task.type"
        );
        assert_eq!(Need::NOTHING.refuses("worker w1", Revision(1), "0.1.0"), None);
    }

    #[test]
    fn an_agent_that_is_newer_than_the_coordinator_is_refused() {
        assert_eq!(refuses_agent(Revision::OLDEST, "0.1.0"), None);
        assert_eq!(refuses_agent(Revision::CURRENT, "0.1.0"), None);
        let refusal = refuses_agent(Revision(99), "9.0.0").unwrap();
        assert_eq!(
            refusal,
            "this coordinator serves workers of revision 1 to 5, found revision 99 (build 9.0.0): upgrade the coordinator first"
        );
    }
}
