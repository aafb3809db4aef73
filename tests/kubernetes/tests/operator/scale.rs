//! Many resources, and an API server that goes away under them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use firn_kubernetes_tests::{ControlPlane, Programs};
use firn_operator::resource;
use firn_tests::{binaries::Process, cluster::LIMIT};
use serde_json::{Value, json};

use crate::place::{Place, job};

const RESOURCES: usize = 500;
/// Resources whose job is changed at the coordinator while nobody can be told, and as many that are changed in the cluster afterwards.
const CHANGED: usize = 50;
/// Between two looks at all resources.
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// Most memory that the operator may have taken.
const MOST_MEMORY: u64 = 128 << 20;

/// Most memory that a process has had so far, in bytes.
fn peak_memory(process: &Process) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

impl Place {
    /// The version of each resource: it changes with each write.
    fn versions(&self) -> BTreeMap<String, String> {
        let list: Value = serde_json::from_str(&self.kubectl(&["get", "ftj", "-o", "json"], "")).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| {
                (
                    text(&item["metadata"]["name"]),
                    text(&item["metadata"]["resourceVersion"]),
                )
            })
            .collect()
    }

    /// Waits until these resources say a word, and starts the operator again whenever it has ended: one that lost its lease does, and a
    /// Deployment starts it.
    fn say(&self, names: &[String], summary: &str, operator: &mut Process) {
        let began = Instant::now();
        while !self.is_said(names, summary) {
            assert!(began.elapsed() < LIMIT, "{summary} was never said\n{}", self.log("one"));
            if operator.has_ended().unwrap() {
                *operator = self.operator("one");
            }
            // One look at all of them is less work than a watch for each.
            std::thread::park_timeout(BETWEEN_LOOKS);
        }
    }

    fn is_said(&self, names: &[String], summary: &str) -> bool {
        let path = format!("-o=jsonpath={{.items[?(@.status.summary==\"{summary}\")].metadata.name}}");
        let told = self.kubectl(&["get", "ftj", &path], "");
        let told: BTreeSet<&str> = told.split_whitespace().collect();
        names.iter().all(|name| told.contains(name.as_str()))
    }
}

/// Nothing is written of a job that waits, whatever else happens.
fn idle_resources_cause_no_writes(place: &Place, operator: &mut Process) {
    let before = place.versions();
    place.create(&job("one-more", Path::new("/data")));
    place.say(&["one-more".to_owned()], "Queued", operator);
    let mut after = place.versions();
    after.remove("one-more");
    let written = before
        .iter()
        .filter(|(name, version)| after[*name] != **version)
        .count();
    println!("writes to {RESOURCES} idle resources while another one was made, submitted and told: {written}");
    assert_eq!(written, 0);
}

#[test]
#[ignore = "takes minutes: make kubernetes"]
fn five_hundred_resources_are_served_by_little_memory_and_lose_nothing_when_the_api_server_goes_away() {
    let Some(programs) = Programs::of_api_server() else {
        return;
    };
    let plane: &ControlPlane = Box::leak(Box::new(ControlPlane::start(&programs).unwrap()));
    plane.kubectl().define(&resource::crd());
    let place = Place::on(plane.kubectl(), "many");
    let mut operator = place.operator("one");
    let names: Vec<String> = (0..RESOURCES).map(|index| format!("job-{index:03}")).collect();
    let items: Vec<Value> = names.iter().map(|name| job(name, Path::new("/data"))).collect();
    let began = Instant::now();
    place.create(&json!({"apiVersion": "v1", "kind": "List", "items": items}));
    let created = began.elapsed();
    place.say(&names, "Queued", &mut operator);
    println!(
        "{RESOURCES} resources: created in {:.1} s, all submitted and told {:.1} s later; peak memory of the operator {:.1} MiB",
        created.as_secs_f64(),
        (began.elapsed() - created).as_secs_f64(),
        peak_memory(&operator) as f64 / f64::from(1 << 20)
    );

    idle_resources_cause_no_writes(&place, &mut operator);

    // What happens while the API server is away is told when it is back; what is wished then is seen.
    plane.stop_api_server();
    let (ended, wished) = (&names[..CHANGED], &names[CHANGED..2 * CHANGED]);
    for name in ended {
        assert!(
            place
                .coordinator
                .firn(&["cancel", name])
                .output()
                .unwrap()
                .status
                .success()
        );
    }
    let began = Instant::now();
    plane.start_api_server().unwrap();
    let back = began.elapsed();
    for name in wished {
        place.patch(name, &json!({"suspend": true}));
    }
    place.say(ended, "Cancelled", &mut operator);
    place.say(wished, "Suspended", &mut operator);
    let memory = peak_memory(&operator);
    println!(
        "the API server was back after {:.1} s; {CHANGED} ends and {CHANGED} wishes were seen {:.1} s later; peak memory {:.1} MiB",
        back.as_secs_f64(),
        (began.elapsed() - back).as_secs_f64(),
        memory as f64 / f64::from(1 << 20)
    );
    let others = place.versions().len();
    assert_eq!(others, RESOURCES + 1);
    assert!(memory < MOST_MEMORY, "{memory} bytes");
    assert_eq!(place.jobs().len(), RESOURCES + 1);
}
