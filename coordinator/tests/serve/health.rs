//! The plain port for probes and Prometheus.

use std::{collections::BTreeMap, net::SocketAddr, path::Path};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::server::{Server, job, settings, submit};

fn watched(folder: &Path) -> Server {
    let mut settings = settings(folder);
    settings.health_listen = Some("127.0.0.1:0".parse().unwrap());
    Server::start_with(settings).unwrap()
}

/// The status and the body of an answer over HTTP/1.1.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    if path == "/metrics" {
        let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert!(head.contains(kind), "{head}");
    }
    (status, body.to_owned())
}

#[tokio::test]
async fn probes_are_answered_over_http_and_grpc_without_tls_and_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = watched(folder.path());
    let health = server.health.unwrap();
    // A call that was answered: from then on it serves.
    submit(&server, job("ants")).await;
    assert_eq!(get(health, "/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(get(health, "/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(health, "/jobs").await.0, 404);
    let channel = Endpoint::from_shared(format!("http://{health}"))
        .unwrap()
        .connect_lazy();
    for service in ["", "firn.v1alpha1.JobService"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = HealthClient::new(channel.clone()).check(request).await.unwrap();
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    // Nothing else is served there.
    let jobs = firn_proto::v1alpha1::job_service_client::JobServiceClient::new(channel);
    let listed = { jobs }
        .list_jobs(firn_proto::v1alpha1::ListJobsRequest::default())
        .await;
    assert_eq!(listed.unwrap_err().code(), tonic::Code::Unimplemented);
    server.stop().await.unwrap();
}

/// One sample: its labels, by name, and its value.
type Sample = (BTreeMap<String, String>, f64);

/// A text in the OpenMetrics format, read strictly: samples by name, kinds and units by the name of their family.
struct Exposition {
    samples: BTreeMap<String, Vec<Sample>>,
    kinds: BTreeMap<String, String>,
    units: BTreeMap<String, String>,
}

impl Exposition {
    fn read(text: &str) -> Self {
        let mut read = Self {
            samples: BTreeMap::new(),
            kinds: BTreeMap::new(),
            units: BTreeMap::new(),
        };
        let body = text.strip_suffix("# EOF\n").expect("it ends with # EOF");
        let (mut family, mut helps) = (String::new(), BTreeMap::new());
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let [keyword, name, rest] = comment.splitn(3, ' ').collect::<Vec<_>>()[..] else {
                    panic!("{line}")
                };
                let is_new = match keyword {
                    "HELP" => helps.insert(name.to_owned(), rest.to_owned()).is_none(),
                    "TYPE" => read.kinds.insert(name.to_owned(), rest.to_owned()).is_none(),
                    "UNIT" => read.units.insert(name.to_owned(), rest.to_owned()).is_none(),
                    other => panic!("unknown keyword {other}"),
                };
                assert!(is_new, "{name} is described twice");
                name.clone_into(&mut family);
                continue;
            }
            let (name, labels, value) = sample(line);
            let suffix = name
                .strip_prefix(family.as_str())
                .unwrap_or_else(|| panic!("{line} in {family}"));
            let expected: &[&str] = match read.kinds[&family].as_str() {
                "counter" => &["_total"],
                "gauge" => &[""],
                "info" => &["_info"],
                "histogram" => &["_bucket", "_count", "_sum"],
                other => panic!("unknown kind {other}"),
            };
            assert!(expected.contains(&suffix), "{line}");
            read.samples.entry(name).or_default().push((labels, value));
        }
        assert_eq!(helps.len(), read.kinds.len(), "every family has a help");
        read
    }

    fn value(&self, name: &str, wanted: &[(&str, &str)]) -> f64 {
        let found = self.samples.get(name).unwrap_or_else(|| panic!("no {name}"));
        let fits = |labels: &BTreeMap<String, String>| {
            wanted
                .iter()
                .all(|(label, value)| labels.get(*label).is_some_and(|found| found == value))
        };
        let mut fitting = found.iter().filter(|(labels, _)| fits(labels));
        let (_, value) = fitting
            .next()
            .unwrap_or_else(|| panic!("no {name} {wanted:?} in {found:?}"));
        *value
    }
}

/// `name{label="value",…} number`.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (named, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = named.split_once('{').unwrap_or((named, "}"));
    let labels = labels.strip_suffix('}').unwrap();
    let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
        let (label, value) = label.split_once("=\"").unwrap();
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    let is_name = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    assert!(is_name, "{line}");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    (name.to_owned(), labels.collect(), value)
}

#[tokio::test]
async fn prometheus_reads_what_is_there_under_names_of_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let server = watched(folder.path());
    submit(&server, job("ants")).await;
    submit(&server, job("bees")).await;
    let (status, text) = get(server.health.unwrap(), "/metrics").await;
    assert_eq!(status, 200);
    let read = Exposition::read(&text);

    for (family, kind) in &read.kinds {
        assert!(
            family.starts_with("firn_") || family.starts_with("process_"),
            "{family}"
        );
        assert!(!family.ends_with("_total") && !family.contains("milli"), "{family}");
        if kind == "histogram" {
            let unit = read.units.get(family).map(String::as_str);
            assert_eq!(unit, Some("seconds"), "{family}");
        }
    }
    for (family, unit) in &read.units {
        assert!(family.ends_with(&format!("_{unit}")), "{family} in {unit}");
    }
    for (name, samples) in &read.samples {
        for (labels, _) in samples {
            let told = labels
                .values()
                .any(|value| value.contains("ants") || value.contains("bees"));
            assert!(!told, "{name} has a label for each job: {labels:?}");
        }
    }
    assert_eq!(read.value("firn_jobs", &[("state", "Queued")]), 2.0);
    assert_eq!(read.value("firn_jobs", &[("state", "Running")]), 0.0);
    assert_eq!(read.value("firn_queue_jobs", &[]), 2.0);
    assert_eq!(
        read.value("firn_namespace_unfinished_jobs", &[("namespace", "default")]),
        2.0
    );
    assert_eq!(read.value("firn_workers", &[("state", "Ready")]), 0.0);
    assert_eq!(read.value("firn_journal_writable", &[]), 1.0);
    assert_eq!(read.value("firn_steps_committed_total", &[]), 0.0);
    assert_eq!(
        read.value("firn_build_info", &[("version", env!("CARGO_PKG_VERSION"))]),
        1.0
    );
    assert!(read.value("firn_journal_append_seconds_count", &[]) >= 3.0);
    assert!(read.value("firn_engine_decision_seconds_count", &[]) >= 3.0);
    assert!(read.value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(read.value("process_start_time_seconds", &[]) > 1.6e9);
    assert!(read.value("process_cpu_seconds_total", &[]) > 0.0);
    let created = [("service", "JobService"), ("method", "CreateJob"), ("code", "Ok")];
    assert_eq!(read.value("firn_rpc_duration_seconds_count", &created), 2.0);
    let last = [created[0], created[1], created[2], ("le", "+Inf")];
    assert_eq!(read.value("firn_rpc_duration_seconds_bucket", &last), 2.0);
    server.stop().await.unwrap();
}
