//! How tokens are issued, replaced and taken back, and what ends with them.

use std::{fs, time::Duration};

use firn_proto::v1alpha1 as proto;
use tonic::Code;

use super::{ADMINISTRATOR, access, guarded, issue, jobs, named, submit_into, wanted};

#[tokio::test]
async fn a_token_that_is_taken_back_ends_what_was_opened_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let (name, reader) = issue(&server, wanted("reader", "vision", "")).await;
    let request = proto::WatchJobRequest {
        name: "jobs/ants".to_owned(),
    };
    let mut stream = jobs(&server, &reader).watch_job(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();

    let listed = access(&server)
        .list_tokens(proto::ListTokensRequest {})
        .await
        .unwrap()
        .into_inner();
    let shown = format!("{listed:?}");
    assert!(shown.contains(&name) && !shown.contains(&reader), "{shown}");

    let revoke = || proto::RevokeTokenRequest {
        name: name.clone(),
        request_id: "once".to_owned(),
    };
    access(&server).revoke_token(revoke()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
    let status = jobs(&server, &reader).get_job(named("jobs/ants")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.message().contains("revoked") && status.message().contains("firn token create"));
    // A repeat of the same call is told the same; another call finds nothing.
    access(&server).revoke_token(revoke()).await.unwrap();
    let again = proto::RevokeTokenRequest {
        request_id: String::new(),
        ..revoke()
    };
    assert_eq!(
        access(&server).revoke_token(again).await.unwrap_err().code(),
        Code::NotFound
    );
    server.stop().await.unwrap();
}

#[tokio::test]
async fn another_secret_is_taken_at_once_and_the_one_before_for_its_grace() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let (name, first) = issue(&server, wanted("reader", "vision", "")).await;
    let rotate = |seconds: i64| proto::RotateTokenRequest {
        name: name.clone(),
        grace: Some(prost_types::Duration { seconds, nanos: 0 }),
    };
    let second = access(&server).rotate_token(rotate(3600)).await.unwrap().into_inner();
    assert!(second.token.unwrap().previous_secret_expire_time.is_some());
    for secret in [&first, &second.secret] {
        jobs(&server, secret).get_job(named("jobs/ants")).await.unwrap();
    }
    let third = access(&server).rotate_token(rotate(0)).await.unwrap().into_inner();
    for secret in [&first, &second.secret] {
        let status = jobs(&server, secret).get_job(named("jobs/ants")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    jobs(&server, &third.secret).get_job(named("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn issued_tokens_outlive_the_coordinator_and_no_secret_reaches_its_disk() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let (_, reader) = issue(&server, wanted("reader", "vision", "")).await;
    server.stop().await.unwrap();
    let secret = reader.strip_prefix("firn_").unwrap().as_bytes();
    for entry in fs::read_dir(folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let content = fs::read(&path).unwrap();
            let holds = content.windows(secret.len()).any(|window| window == secret);
            assert!(!holds, "{} holds the secret", path.display());
        }
    }
    let server = guarded(folder.path());
    jobs(&server, &reader).get_job(named("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn tokens_that_make_no_sense_are_refused_with_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    for (request, code, words) in [
        (wanted("root", "", ""), Code::InvalidArgument, "found `root`"),
        (
            wanted("administrator", "vision", ""),
            Code::InvalidArgument,
            "found one of namespace vision",
        ),
        (
            wanted("submitter", "", "jobs/ants"),
            Code::InvalidArgument,
            "found one of jobs/ants",
        ),
        (
            wanted("reader", "vision", "jobs/ants"),
            Code::InvalidArgument,
            "found both",
        ),
        (
            wanted("reader", "Vision!", ""),
            Code::InvalidArgument,
            "found `Vision!`",
        ),
        (
            wanted("agent", "", "jobs/bees"),
            Code::NotFound,
            "jobs/bees does not exist",
        ),
    ] {
        let status = access(&server).create_token(request).await.unwrap_err();
        assert_eq!(status.code(), code, "{status:?}");
        assert!(status.message().contains(words), "{}", status.message());
    }
    server.stop().await.unwrap();
}

#[tokio::test]
async fn tokens_of_the_file_change_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = guarded(folder.path());
    submit_into(&server, ADMINISTRATOR, "ants", "vision").await.unwrap();
    let request = proto::WatchJobRequest {
        name: "jobs/ants".to_owned(),
    };
    let mut stream = jobs(&server, ADMINISTRATOR)
        .watch_job(request)
        .await
        .unwrap()
        .into_inner();
    stream.message().await.unwrap().unwrap();
    let other = "fedcba9876543210fedcba9876543210";
    // What cannot be used changes nothing.
    fs::write(folder.path().join("token"), "short").unwrap();
    jobs(&server, ADMINISTRATOR).get_job(named("jobs/ants")).await.unwrap();
    fs::write(folder.path().join("token"), other).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
    jobs(&server, other).get_job(named("jobs/ants")).await.unwrap();
    server.stop().await.unwrap();
}
