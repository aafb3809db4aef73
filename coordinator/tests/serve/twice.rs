//! A line to the coordinator on which every call can be made to arrive twice, as after an answer that got lost.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

use firn_proto::v1alpha1 as proto;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt as _, Full};
use tonic::{
    body::Body,
    codegen::Bytes,
    transport::{Channel, Error},
};
use tower::Service;

use crate::{
    agent::{Agent, hello},
    rank::{Rank, follow_together},
    server::{Server, get, job, submit},
    whole_job::check_what_is_left,
};

/// Calls whose repeats may be told something else: another piece of work, or news.
const FREE_TO_DIFFER: [&str; 2] = [
    "/firn.v1alpha1.RankService/LeaseShard",
    "/firn.v1alpha1.RankService/Pulse",
];

/// A channel, or one that says everything twice.
#[derive(Clone)]
pub(crate) struct Line {
    channel: Channel,
    is_doubled: bool,
}

impl Line {
    pub(crate) fn plain(channel: Channel) -> Self {
        Self {
            channel,
            is_doubled: false,
        }
    }

    pub(crate) fn doubled(channel: Channel) -> Self {
        Self {
            channel,
            is_doubled: true,
        }
    }
}

impl Service<Request<Body>> for Line {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !self.is_doubled {
            return Box::pin(self.channel.call(request));
        }
        let channel = self.channel.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let content = body.collect().await.unwrap().to_bytes();
            let first = send(channel.clone(), &parts, content.clone()).await?;
            let first = told(first).await;
            let second = send(channel, &parts, content).await?;
            let (head, body) = second.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned();
            let content = body.to_bytes();
            if !FREE_TO_DIFFER.contains(&parts.uri.path()) {
                let status = head.headers.get("grpc-status").cloned();
                assert_eq!((content.clone(), status), first, "the repeat of {}", parts.uri.path());
            }
            let body = Full::new(content).with_trailers(async move { trailers.map(Ok) });
            Ok(Response::from_parts(head, Body::new(body)))
        })
    }
}

async fn send(mut channel: Channel, parts: &Parts, content: Bytes) -> Result<Response<Body>, Error> {
    poll_fn(|context| channel.poll_ready(context)).await?;
    let request = Request::from_parts(parts.clone(), Body::new(Full::new(content)));
    channel.call(request).await
}

/// What an answer says: its messages, and the status if it is a refusal.
async fn told(response: Response<Body>) -> (Bytes, Option<http::HeaderValue>) {
    let status = response.headers().get("grpc-status").cloned();
    (response.into_body().collect().await.unwrap().to_bytes(), status)
}

#[tokio::test]
async fn a_job_of_which_every_call_arrives_twice_is_none_the_worse() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let starts = [agent.start_rank().await, agent.start_rank().await];
    let [mut zero, mut one] = starts.each_ref().map(|start| Rank::doubled(&server, start));
    let (last_zero, last_one) = follow_together([&mut zero, &mut one], |_| false).await;
    assert_eq!(last_zero, last_one);
    for start in &starts {
        agent.exited(&start.process_id, 0).await;
        agent.exited(&start.process_id, 0).await;
    }
    let done = get(&server, "jobs/insects").await;
    let status = done.status.as_ref().unwrap();
    assert_eq!(status.summary, "Succeeded");
    assert_eq!((status.best_epoch, status.restarts, status.generation), (Some(1), 0, 1));
    assert_eq!(status.evaluations.len(), 3);
    check_what_is_left(&server, "jobs/insects").await;
    let steps = server
        .jobs()
        .list_steps(proto::ListStepsRequest {
            name: "jobs/insects".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap();
    let expected: Vec<_> = (0..6)
        .map(|step| crate::rank::made_up_step(step, (step / 3) as u32))
        .collect();
    assert_eq!(steps.into_inner().steps, expected, "each step once");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn calls_that_a_quiet_job_does_not_need_can_be_repeated_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut tolerant = job("insects");
    let data = tolerant.spec.as_mut().unwrap().data.as_mut().unwrap();
    data.quarantine = Some(proto::QuarantineSpec { max_samples: Some(1) });
    submit(&server, tolerant).await;
    let mut agent = Agent::attach(&server, hello("one", "i1")).await.unwrap();
    let starts = [agent.start_rank().await, agent.start_rank().await];
    let [mut zero, mut one] = starts.each_ref().map(|start| Rank::doubled(&server, start));
    let _ = tokio::join!(zero.begin(), one.begin());
    let share = proto::ShareCollectiveIdRequest {
        identity: zero.me(),
        collective_id: vec![7; 128],
    };
    let shared = zero.service.share_collective_id(share).await.unwrap().into_inner();
    assert_eq!(shared.collective_id, vec![7; 128]);
    // One is as many as the job tolerates.
    let sample = proto::QuarantinedSample {
        split: "train".to_owned(),
        index: 3,
        sample: "train/003.png".to_owned(),
        reason: "it is cut off".to_owned(),
    };
    let quarantine = proto::QuarantineSampleRequest {
        identity: one.me(),
        sample: Some(sample),
    };
    one.service.quarantine_sample(quarantine).await.unwrap();
    let reject = proto::RejectCheckpointRequest {
        identity: one.me(),
        sha256: "0".repeat(64),
        reason: "it is gone".to_owned(),
    };
    one.service.reject_checkpoint(reject).await.unwrap();

    // A job goes back once, and fails at the second time. A repeat is of an older generation by then, and changes nothing.
    let rollback = proto::RequestRollbackRequest {
        identity: zero.me(),
        reason: "steps 3 to 5 are not finite".to_owned(),
    };
    let mut ranks = server.ranks();
    ranks.request_rollback(rollback.clone()).await.unwrap();
    let repeated = ranks.request_rollback(rollback).await.unwrap_err();
    assert_eq!(repeated.code(), tonic::Code::Aborted);
    let _ = tokio::join!(zero.join(), one.join());
    let failed = proto::ReportFailureRequest {
        identity: one.me(),
        failure: Some(proto::Failure {
            reason: "InternalError".to_owned(),
            message: "something broke".to_owned(),
            ..Default::default()
        }),
    };
    one.service.report_failure(failed).await.unwrap();
    let seen = get(&server, "jobs/insects").await;
    let status = seen.status.as_ref().unwrap();
    assert_eq!((status.summary.as_str(), status.generation), ("Running", 2));
    server.stop().await.unwrap();
}
