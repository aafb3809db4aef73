//! One job from submit to its artifacts, with an agent and two ranks.

use std::collections::BTreeMap;

use firn_proto::v1alpha1 as proto;
use sha2::{Digest as _, Sha256};

use crate::{
    agent::{Agent, hello},
    rank::{CLASSES, Rank, follow_together, label, prediction, weights},
    server::{Server, get, job, submit, summary},
};

pub(crate) async fn download(server: &Server, name: &str, artifact: &str) -> Result<Vec<u8>, tonic::Status> {
    let request = proto::DownloadArtifactRequest {
        name: name.to_owned(),
        artifact: artifact.to_owned(),
    };
    let mut chunks = server.jobs().download_artifact(request).await?.into_inner();
    let mut content = Vec::new();
    while let Some(chunk) = chunks.message().await? {
        content.extend(chunk.data);
    }
    Ok(content)
}

/// All lines of the job's log, as `rank sequence text`.
pub(crate) async fn log(server: &Server, name: &str, follow: bool) -> Vec<String> {
    let request = proto::StreamLogsRequest {
        name: name.to_owned(),
        follow,
        rank: None,
    };
    let mut lines = server.jobs().stream_logs(request).await.unwrap().into_inner();
    let mut log = Vec::new();
    while let Some(line) = lines.message().await.unwrap() {
        log.push(format!("{} {} {}", line.rank, line.sequence, line.text));
    }
    log
}

/// Checks everything that a job of [`crate::rank`]'s made-up data leaves.
pub(crate) async fn check_what_is_left(server: &Server, name: &str) {
    let artifacts = server
        .jobs()
        .list_artifacts(proto::ListArtifactsRequest { name: name.to_owned() })
        .await
        .unwrap()
        .into_inner()
        .artifacts;
    let mut contents = BTreeMap::new();
    for artifact in &artifacts {
        if artifact.location != "coordinator" {
            let refused = download(server, name, &artifact.name).await.unwrap_err();
            assert_eq!(
                refused.message(),
                "the coordinator does not keep `model.safetensors`: it lies at file://one.example/model"
            );
            continue;
        }
        let content = download(server, name, &artifact.name).await.unwrap();
        assert_eq!(content.len() as u64, artifact.size_bytes, "{}", artifact.name);
        assert_eq!(
            hex::encode(Sha256::digest(&content)),
            artifact.sha256,
            "{}",
            artifact.name
        );
        contents.insert(artifact.name.as_str(), String::from_utf8(content).unwrap());
    }
    let names: Vec<_> = contents.keys().copied().collect();
    let expected = [
        "best_metric.svg",
        "confusion.svg",
        "head.safetensors",
        "history.jsonl",
        "loss.svg",
        "metrics.json",
        "predictions_test.csv",
        "predictions_validation.csv",
    ];
    assert_eq!(names, expected);
    assert_eq!(contents["head.safetensors"].as_bytes(), weights(1));

    for (picture, shown) in [
        ("best_metric.svg", "validation/accuracy"),
        ("confusion.svg", "Confusion (test)"),
        ("loss.svg", "best epoch (1)"),
    ] {
        let content = &contents[picture];
        assert!(
            content.starts_with("<svg") && content.contains(shown),
            "{picture}: {content}"
        );
    }
    let metrics: serde_json::Value = serde_json::from_str(&contents["metrics.json"]).unwrap();
    assert_eq!(metrics["bestEpoch"], 1);
    assert_eq!(metrics["epochs"].as_array().unwrap().len(), 2);
    for (split, samples) in [("validation", 20), ("test", 10)] {
        check_predictions(&contents[format!("predictions_{split}.csv").as_str()], split, samples);
        check_metrics(&metrics[split], split, samples);
    }
    check_intervals(&metrics);
    let history: Vec<serde_json::Value> = contents["history.jsonl"]
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        history
            .iter()
            .map(|step| step["step"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [0, 1, 2, 3, 4, 5]
    );
    assert_eq!(history[5]["loss"], 1.0 / 6.0);
}

/// Every metric of the test split lies somewhere, and no other split's does.
fn check_intervals(metrics: &serde_json::Value) {
    assert_eq!(metrics["validation"].get("intervals"), None);
    let intervals = &metrics["test"]["intervals"];
    assert_eq!(
        (&intervals["resamples"], &intervals["level"]),
        (&1000.into(), &0.95.into())
    );
    for (name, value) in metrics["test"]["metrics"].as_object().unwrap() {
        // The made-up ranks report a loss that is not that of their predictions.
        let (low, high) = (&intervals["metrics"][name][0], &intervals["metrics"][name][1]);
        let (low, value, high) = (low.as_f64().unwrap(), value.as_f64().unwrap(), high.as_f64().unwrap());
        assert!(low <= high, "{name}: {low} {high}");
        assert!(
            name == "loss" || (low <= value + 0.2 && value - 0.2 <= high),
            "{name}: {low} {value} {high}"
        );
    }
}

fn check_predictions(csv: &str, split: &str, samples: u64) {
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let header: Vec<_> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(header[..4], ["index", "sample", "label", "predicted"]);
    assert_eq!(header[4..], CLASSES.map(|class| format!("probability_{class}")));
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len() as u64, samples);
    for (index, row) in (0..samples).zip(&rows) {
        let made = prediction(split, 1, index);
        assert_eq!(row[0], index.to_string());
        assert_eq!(row[1], made.sample);
        assert_eq!(row[2], *CLASSES[label(index) as usize]);
        let scores: Vec<f64> = row.iter().skip(4).map(|score| score.parse().unwrap()).collect();
        assert_eq!(scores, made.scores, "probabilities come back bit for bit");
    }
}

fn check_metrics(found: &serde_json::Value, split: &str, samples: u64) {
    let made: Vec<_> = (0..samples).map(|index| prediction(split, 1, index)).collect();
    let best = |scores: &[f64]| {
        (0..3)
            .find(|class| (0..3).all(|other| scores[*class] >= scores[other]))
            .unwrap()
    };
    let right = made
        .iter()
        .filter(|made| best(&made.scores) == made.label as usize)
        .count();
    assert!(
        right > 0 && (right as u64) < samples,
        "the case has right and wrong predictions"
    );
    assert_eq!(found["samples"], samples);
    assert_eq!(found["metrics"]["accuracy"], right as f64 / samples as f64);
    let labels: Vec<u32> = made.iter().map(|made| made.label).collect();
    let scores: Vec<f64> = made.iter().flat_map(|made| made.scores.clone()).collect();
    let from_scores = firn_core::metrics::ScoreMetrics::of_matrix(&labels, &scores, 3);
    assert!(!from_scores.is_empty());
    for (name, value) in from_scores {
        assert_eq!(found["metrics"][&name], value);
    }
    let counted: u64 = found["confusion"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|row| row.as_array().unwrap())
        .map(|cell| cell.as_u64().unwrap())
        .sum();
    assert_eq!(counted, samples);
}

#[tokio::test]
async fn a_job_goes_from_submit_to_its_artifacts() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let created = submit(&server, job("insects")).await;
    assert_eq!(created.metadata.as_ref().unwrap().resource_name, "jobs/insects");
    assert_eq!(summary(&created), "Queued");
    let queued = &created.status.as_ref().unwrap().conditions[0];
    assert_eq!(
        (queued.r#type.as_str(), queued.reason.as_str()),
        ("Queued", "WaitingForSlots")
    );

    let mut watch = server
        .jobs()
        .watch_job(proto::WatchJobRequest {
            name: "jobs/insects".to_owned(),
        })
        .await
        .unwrap()
        .into_inner();
    let watching = tokio::spawn(async move {
        let mut summaries = Vec::new();
        while let Some(seen) = watch.message().await.unwrap() {
            summaries.push(summary(&seen).to_owned());
        }
        summaries
    });
    let following = {
        let request = proto::StreamLogsRequest {
            name: "jobs/insects".to_owned(),
            follow: true,
            rank: None,
        };
        let mut lines = server.jobs().stream_logs(request).await.unwrap().into_inner();
        tokio::spawn(async move {
            let mut count = 0;
            while lines.message().await.unwrap().is_some() {
                count += 1;
            }
            count
        })
    };

    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    assert!(agent.welcome.unwanted_processes.is_empty());
    let starts = [agent.start_rank().await, agent.start_rank().await];
    assert_eq!(
        starts
            .each_ref()
            .map(|start| (start.rank, start.world_size, start.slot)),
        [(0, 2, 0), (1, 2, 1)]
    );
    assert_eq!(
        agent
            .lines(&starts[1].process_id, 0, &["hello from one", "and again"])
            .await,
        2
    );

    let [mut zero, mut one] = starts.each_ref().map(|start| Rank::new(&server, start));
    let (last_zero, last_one) = follow_together([&mut zero, &mut one], |_| false).await;
    assert_eq!(last_zero, last_one, "all ranks get the same directives");
    for start in &starts {
        agent.exited(&start.process_id, 0).await;
    }
    assert_eq!(watching.await.unwrap().last().unwrap(), "Succeeded");
    assert_eq!(
        following.await.unwrap(),
        2,
        "a followed log ends with the job's last process"
    );

    let done = get(&server, "jobs/insects").await;
    let status = done.status.as_ref().unwrap();
    assert_eq!((status.best_epoch, status.restarts, status.generation), (Some(1), 0, 1));
    assert_eq!(status.evaluations.len(), 3);
    assert_eq!(status.progress.as_ref().unwrap().step, 6);
    check_what_is_left(&server, "jobs/insects").await;
    assert_eq!(
        log(&server, "jobs/insects", true).await,
        ["1 0 hello from one", "1 1 and again"]
    );
    let steps = server
        .jobs()
        .list_steps(proto::ListStepsRequest {
            name: "jobs/insects".to_owned(),
            first_step: 4,
            page_size: 1,
        })
        .await
        .unwrap();
    assert_eq!(steps.into_inner().steps, [crate::rank::made_up_step(4, 1)]);
    server.stop().await.unwrap();
}
