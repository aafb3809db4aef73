//! Two jobs that wait at once: whom the pods of each have served, by the coordinator's own journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use firn::{backup::back_up, journal::Journal};
use firn_core::record::{Event, JobEvent, Record};
use firn_kubernetes_tests::Answer;
use serde_json::{Value, json};

use crate::{
    coordinator,
    release::{Story, job, rows},
};

/// Whom each worker came for, and on which workers the ranks of each job were.
#[derive(Debug, Default)]
struct Served {
    came_for: BTreeMap<String, BTreeSet<Option<String>>>,
    worked_on: BTreeMap<String, BTreeSet<String>>,
    ranks: usize,
}

impl Served {
    fn hear(&mut self, event: Event) {
        match event {
            Event::WorkerAttached(worker) => {
                let of_worker = self.came_for.entry(worker.name.as_str().to_owned()).or_default();
                of_worker.insert(worker.serves.job.map(|job| job.as_str().to_owned()));
            }
            Event::Job {
                job,
                event: JobEvent::GangFormed { members, recruits, .. },
            } => self.place(
                job.as_str(),
                members.iter().chain(&recruits).map(|member| member.worker.as_str()),
            ),
            Event::Job {
                job,
                event: JobEvent::RanksRecruited { recruits, .. },
            } => self.place(job.as_str(), recruits.iter().map(|member| member.worker.as_str())),
            _ => {}
        }
    }

    fn place<'a>(&mut self, job: &str, workers: impl Iterator<Item = &'a str>) {
        let of_job = self.worked_on.entry(job.to_owned()).or_default();
        for worker in workers {
            of_job.insert(worker.to_owned());
            self.ranks += 1;
        }
    }
}

/// The folder below which a file of that name lies.
fn folder_with(root: &Path, name: &str) -> Option<PathBuf> {
    if root.join(name).is_file() {
        return Some(root.to_owned());
    }
    let folders = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path());
    folders
        .filter(|path| path.is_dir())
        .find_map(|path| folder_with(&path, name))
}

/// Every record of the journal, from its first. Nobody writes it meanwhile.
fn served(story: &Story) -> Served {
    let name = "journal.redb";
    let folder = folder_with(&story.cluster.folder().join("claims"), name).unwrap();
    coordinator::stop(story);
    let copy = tempfile::tempdir().unwrap();
    back_up(&folder, &copy.path().join("copy")).unwrap();
    coordinator::start(story);
    let mut served = Served::default();
    let journal = Journal::open(&copy.path().join("copy")).unwrap();
    journal.replay(|record: Record| served.hear(record.event)).unwrap();
    served
}

/// The workers that are attached: their name, the job for which they came, and the jobs on their slots.
fn attached(story: &Story, prefix: &str) -> Vec<(String, String, Vec<String>)> {
    let workers = rows(&Answer::of(&mut story.firn(&["workers", "-o", "json"]), ""), "workers");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let ready = workers
        .iter()
        .filter(|worker| worker["state"] == "Ready" && text(&worker["name"]).starts_with(prefix));
    ready
        .map(|worker| {
            let slots = worker["slots"].as_array().unwrap().iter();
            let busy = slots.map(|slot| text(&slot["job"])).filter(|job| !job.is_empty());
            (text(&worker["name"]), text(&worker["forJob"]), busy.collect())
        })
        .collect()
}

/// A job whose pods fill a node each: there are two nodes.
fn wide(name: &str, epochs: u32, workers: (u32, u32)) -> Value {
    let mut wide = job(name, epochs, workers);
    wide["spec"]["worker"]["resources"]["requests"]["cpu"] = json!("10");
    wide
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn of_two_jobs_that_wait_at_once_no_worker_of_one_ever_serves_the_other() {
    let Some(story) = Story::begin() else { return };
    // The first waits with two workers that have nothing to do, the second for a node.
    story.apply(&wide("greedy", 40, (3, 3)));
    story.wait("job/greedy-workers", "create");
    story.wait("job/greedy-workers", "jsonpath={.status.ready}=2");
    story.apply(&wide("modest", 40, (1, 1)));
    let unplaced = |status: &Value| {
        let conditions = status["conditions"].as_array();
        status["summary"] == "Queued"
            && conditions.is_some_and(|all| all.iter().any(|condition| condition["reason"] == "Unschedulable"))
    };
    story.until("modest", unplaced);
    assert_eq!(story.get("ftj", "greedy")["status"]["summary"], "Queued");
    let found = attached(&story, "greedy-");
    let is_idle = |(_, came_for, ranks): &(String, String, Vec<String>)| came_for == "greedy" && ranks.is_empty();
    assert!(found.len() == 2 && found.iter().all(is_idle), "{found:?}");
    assert_eq!(attached(&story, "modest-"), []);
    story.figure("two jobs wait, and two workers of the first are idle");
    // The first needs fewer, trains, and gives its nodes back at its end: the second has waited all the time.
    story.patch("greedy", &json!({"resources": {"workers": {"min": 1, "max": 2}}}));
    story.trains("greedy", 2, 20);
    assert_eq!(story.get("ftj", "modest")["status"]["summary"], "Queued");
    story.succeeds("greedy");
    story.succeeds("modest");
    story.figure("both have succeeded");
    let served = served(&story);
    let of = |job: &str| {
        served.worked_on[job]
            .iter()
            .all(|worker| worker.starts_with(&format!("{job}-")))
    };
    assert!(of("greedy") && of("modest"), "{served:?}");
    // Of these jobs and of all that this release has ever run.
    for (job, workers) in &served.worked_on {
        for worker in workers {
            assert_eq!(
                served.came_for[worker],
                BTreeSet::from([Some(job.clone())]),
                "{worker} has worked for {job}"
            );
        }
    }
    story.figure(&format!(
        "the journal has {} ranks of {} jobs on {} workers, each of its own job",
        served.ranks,
        served.worked_on.len(),
        served.came_for.len()
    ));
    for name in ["greedy", "modest"] {
        story.delete(name);
    }
}
