//! A job of 21,841 classes: nothing grows with their square, and nobody is sent what was not asked for.

use std::process::Command;

use firn_proto::v1alpha1 as proto;
use prost::Message as _;

use crate::{
    agent::{Agent, hello},
    rank::{Data, Rank},
    server::{Server, get, job, submit, summary},
    verify::verify,
    whole_job::download,
};

/// Those of ImageNet-21k.
const CLASSES: u32 = 21_841;
/// Largest snapshot, bytes.
const LARGEST: usize = 64 * 1024;
/// Most memory of the process that holds the coordinator and both ranks, KiB.
const MOST_MEMORY: u64 = 500 * 1000;

fn class(number: u32) -> String {
    format!("n{number:08} a name of some length")
}

/// Train has 40 samples, as many as [`Rank::train`] commits steps for; the others have one of each class.
fn dataset() -> proto::DatasetSummary {
    let split = |(split, samples): (&str, u64)| proto::SplitManifest {
        split: split.to_owned(),
        samples,
        class_counts: (0..u64::from(CLASSES))
            .map(|class| u64::from(class < samples))
            .collect(),
        digest: "d1".to_owned(),
    };
    let other = u64::from(CLASSES);
    proto::DatasetSummary {
        classes: (0..CLASSES).map(class).collect(),
        splits: [("train", 40), ("validation", other), ("test", other)]
            .map(split)
            .to_vec(),
        class_count: CLASSES,
        ..proto::DatasetSummary::default()
    }
}

/// Every third sample is taken for one of another class, each time of another one.
fn evaluation(split: &str, epoch: u32, shard: &proto::Shard) -> proto::EvaluationReport {
    let prediction = |index: u64| {
        let label = index as u32;
        let guess = if index.is_multiple_of(3) {
            (label * 7 + 1 + epoch) % CLASSES
        } else {
            label
        };
        let mut classes: Vec<u32> = (0..10).map(|place| (guess + place) % CLASSES).collect();
        let mut scores: Vec<f64> = (0..10).map(|place| 0.5 / f64::from(1 << place)).collect();
        if !classes.contains(&label) {
            classes.push(label);
            scores.push(1e-4);
        }
        let of_sample = proto::Prediction {
            index,
            sample: format!("{split}/{index:06}.png"),
            ..proto::Prediction::default()
        };
        proto::Prediction {
            label,
            scores,
            classes,
            ..of_sample
        }
    };
    let predictions: Vec<_> = (shard.begin..shard.end).map(prediction).collect();
    proto::EvaluationReport {
        samples: predictions.len() as u64,
        loss_sum: predictions.len() as f64 * 0.75,
        predictions,
        corrupt: Vec::new(),
    }
}

#[test]
fn a_job_of_21841_classes_needs_little_memory_and_sends_small_snapshots() {
    let story = "many_classes::the_whole_story";
    let ran = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", story, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains("1 passed"), "{said}");
    println!(
        "{}",
        said.lines().filter(|line| line.starts_with("peak")).collect::<String>()
    );
}

/// Kibibytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn named() -> proto::GetJobRequest {
    proto::GetJobRequest {
        name: "jobs/many".to_owned(),
        ..Default::default()
    }
}

async fn check_views(server: &Server) {
    let shown = get(server, "jobs/many").await;
    assert!(shown.encoded_len() <= LARGEST, "GetJob: {}", shown.encoded_len());
    let status = shown.status.unwrap();
    let dataset = status.dataset.unwrap();
    assert_eq!((dataset.class_count, dataset.classes.len()), (CLASSES, 32));
    assert_eq!(dataset.classes[1], class(1));
    assert_eq!(status.evaluations.len(), 3);
    let accuracy = status.evaluations[0].metrics["accuracy"];
    assert!((accuracy - 14_560.0 / 21_841.0).abs() < 1e-12, "{accuracy}");
    let list = server
        .jobs()
        .list_jobs(proto::ListJobsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(
        list.jobs[0].encoded_len() <= LARGEST,
        "ListJobs: {}",
        list.jobs[0].encoded_len()
    );

    let whole = proto::GetJobRequest {
        view: "full".to_owned(),
        ..named()
    };
    let mut jobs = server.jobs().max_decoding_message_size(32 << 20);
    let status = jobs.get_job(whole).await.unwrap().into_inner().status.unwrap();
    assert_eq!(status.dataset.unwrap().classes.len(), CLASSES as usize);
    let test = status.evaluations.last().unwrap();
    assert_eq!((test.per_class.len(), test.confusion.len()), (CLASSES as usize, 0));
    assert_eq!(
        test.cells.iter().map(|cell| cell.count).sum::<u64>(),
        u64::from(CLASSES)
    );
    assert_eq!(
        (test.per_class[3].class.clone(), test.per_class[3].recall),
        (class(3), 0.0)
    );
}

async fn check_files(server: &Server) {
    let metrics = download(server, "jobs/many", "metrics.json").await.unwrap();
    let metrics: serde_json::Value = serde_json::from_slice(&metrics).unwrap();
    assert_eq!(metrics["test"]["perClass"].as_array().unwrap().len(), CLASSES as usize);
    assert_eq!(metrics["test"]["confusion"], serde_json::Value::Null);
    assert_eq!(metrics["test"]["confusionCells"][1], serde_json::json!([1, 1, 1]));
    let predictions = download(server, "jobs/many", "predictions_test.csv").await.unwrap();
    let predictions = String::from_utf8(predictions).unwrap();
    let mut lines = predictions.lines();
    let header = lines.next().unwrap();
    assert!(
        header.starts_with("index,sample,label,predicted,probability_label,class_1,probability_1,"),
        "{header}"
    );
    assert_eq!(lines.count(), CLASSES as usize);
}

#[tokio::test]
#[ignore = "runs in a process of its own, whose memory is measured"]
async fn the_whole_story() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut wanted = job("many");
    wanted
        .spec
        .as_mut()
        .unwrap()
        .resources
        .as_mut()
        .unwrap()
        .slots_per_worker = Some(1);
    submit(&server, wanted).await;
    let request = proto::WatchJobRequest {
        name: "jobs/many".to_owned(),
    };
    let mut watch = server.jobs().watch_job(request).await.unwrap().into_inner();
    let watching = tokio::spawn(async move {
        let (mut largest, mut last) = (0, String::new());
        while let Some(seen) = watch.message().await.unwrap() {
            largest = largest.max(seen.encoded_len());
            summary(&seen).clone_into(&mut last);
        }
        (largest, last)
    });
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let start = agent.start_rank().await;
    let mut rank = Rank::new(&server, &start);
    rank.data = Data { dataset, evaluation };
    let first = rank.begin().await;
    let last = rank.follow(first, |_| false).await;
    assert!(
        last.encoded_len() <= LARGEST,
        "the last directive: {}",
        last.encoded_len()
    );
    agent.exited(&start.process_id, 0).await;
    let (largest, outcome) = watching.await.unwrap();
    assert_eq!(outcome, "Succeeded");
    assert!(largest <= LARGEST, "a snapshot of {largest} bytes");
    check_views(&server).await;
    check_files(&server).await;
    let receipt = verify(&server, "jobs/many").await.unwrap();
    assert!(receipt.proven, "{:#?}", receipt.findings);
    let peak = peak_memory();
    println!("peak memory {peak} KiB, largest snapshot {largest} bytes");
    assert!(peak < MOST_MEMORY, "the coordinator took {peak} KiB");
}
