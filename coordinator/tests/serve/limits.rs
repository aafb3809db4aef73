//! How much a peer may ask of the coordinator: over real sockets, each limit by itself.

use std::{future::poll_fn, time::Duration};

use firn::serve::limits::Limits;
use firn_proto::v1alpha1 as proto;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::Code;

use crate::{
    access::{Authority, serve_over_tls, trusting},
    agent::{Agent, hello},
    server::{Server, get, job, settings, submit},
};

const SHORT: Duration = Duration::from_millis(200);

fn server_with(folder: &std::path::Path, limits: Limits) -> Server {
    let mut settings = settings(folder);
    settings.limits = limits;
    Server::start_with(settings).unwrap()
}

/// Reads until the coordinator closes the connection; a reset is as good.
async fn is_closed(stream: &mut (impl tokio::io::AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test]
async fn peers_that_say_nothing_or_something_else_are_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        handshake: SHORT,
        ..Limits::default()
    };
    let server = server_with(folder.path(), limits);
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut browser = TcpStream::connect(server.address).await.unwrap();
    browser
        .write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        .await
        .unwrap();
    tokio::join!(is_closed(&mut silent), is_closed(&mut slow), is_closed(&mut browser));
    submit(&server, job("insects")).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_says_nothing_after_its_tls_handshake_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let mut settings = serve_over_tls(folder.path(), &authority);
    settings.limits.handshake = SHORT;
    let server = Server::start_with(settings).unwrap();
    let socket = TcpStream::connect(server.address).await.unwrap();
    let mut silent = trusting(&authority)
        .connect("localhost".try_into().unwrap(), socket)
        .await
        .unwrap();
    is_closed(&mut silent).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        keepalive_interval: SHORT,
        keepalive_deadline: SHORT,
        ..Limits::default()
    };
    let server = server_with(folder.path(), limits);
    let mut peer = TcpStream::connect(server.address).await.unwrap();
    // The preface and an empty SETTINGS frame; then nothing, whatever comes.
    peer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    is_closed(&mut peer).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_a_place_is_free_again_when_one_ends() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = server_with(folder.path(), limits);
    let mut first = server.jobs();
    first.list_workers(proto::ListWorkersRequest {}).await.unwrap();
    let refused = server
        .jobs()
        .list_workers(proto::ListWorkersRequest {})
        .await
        .unwrap_err();
    // How the client's transport says so depends on how far it had come when the connection was closed.
    let words = [Code::Unavailable, Code::Unknown, Code::Cancelled, Code::Internal];
    assert!(words.contains(&refused.code()), "{refused:?}");
    drop(first);
    // The end of the first one is noticed soon, not at once.
    while server.jobs().list_workers(proto::ListWorkersRequest {}).await.is_err() {
        tokio::task::yield_now().await;
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_connection_has_at_most_32_calls_under_way_and_more_are_refused_one_by_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    submit(&server, job("insects")).await;
    let socket = TcpStream::connect(server.address).await.unwrap();
    // A client that does not wait to be told how many calls it may have.
    let (mut client, connection) = h2::client::Builder::new()
        .initial_max_send_streams(100)
        .handshake::<_, &[u8]>(socket)
        .await
        .unwrap();
    let mut calls = Vec::new();
    for _ in 0..40 {
        poll_fn(|context| client.poll_ready(context)).await.unwrap();
        let request = http::Request::post(format!("http://{}/firn.v1alpha1.JobService/WatchJob", server.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .unwrap();
        let (response, mut body) = client.send_request(request, false).unwrap();
        // Field 1, `jobs/insects`, behind the five bytes of gRPC's own.
        body.send_data(b"\0\0\0\0\x0e\x0a\x0cjobs/insects", true).unwrap();
        calls.push(response);
    }
    let driven = tokio::spawn(connection);
    let mut served = Vec::new();
    let mut refused = 0;
    for call in calls {
        match call.await {
            Ok(response) => served.push(response),
            Err(error) => {
                assert_eq!(error.reason(), Some(h2::Reason::REFUSED_STREAM), "{error}");
                refused += 1;
            }
        }
    }
    assert_eq!((served.len(), refused), (32, 8));
    // Others are not concerned.
    assert_eq!(get(&server, "jobs/insects").await.metadata.unwrap().name, "insects");
    drop((served, client));
    driven.abort();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut jobs = server.jobs();
    let mut large = job("insects");
    let labels = &mut large.metadata.as_mut().unwrap().labels;
    labels.insert("note".to_owned(), "x".repeat(1 << 20));
    let request = proto::CreateJobRequest {
        job: Some(large),
        request_id: String::new(),
        suspended: false,
    };
    let refused = jobs.create_job(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("the limit is: 1048576 bytes"), "{refused}");
    let list = jobs.list_jobs(proto::ListJobsRequest::default()).await.unwrap();
    assert!(list.into_inner().jobs.is_empty());

    let refused = Agent::attach(
        &server,
        proto::AgentHello {
            host: "h".repeat(1 << 20),
            ..hello("one", "i1")
        },
    );
    assert_eq!(refused.await.err().unwrap().code(), Code::OutOfRange);

    // Only ranks may send more, and not without end.
    let mut ranks = server.ranks();
    let report = |bytes: usize| proto::JoinRequest {
        identity: Some(proto::RankIdentity {
            job: "jobs/absent".to_owned(),
            process_id: "p".to_owned(),
            generation: 1,
            coordinator_epoch: 0,
        }),
        ring_address: "r".repeat(bytes),
        device: "cpu".to_owned(),
        steps_done: 0,
        state_generation: 0,
        reason: String::new(),
    };
    assert_eq!(ranks.join(report(2 << 20)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(ranks.join(report(16 << 20)).await.unwrap_err().code(), Code::OutOfRange);
    server.stop().await.unwrap();
}
