//! The Hub, played by a server of this machine over real HTTP: what it answers well, badly, half and not at all.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

mod server;

use std::{fs, path::Path, thread, time::Duration};

use firn_core::spec::hub::HubModel;
use firn_hub::{Hub, HubError, Settings};
use server::{Server, TOKEN, Trouble};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const LATER: &str = "89abcdef0123456789abcdef0123456789abcdef";

fn weights() -> Vec<u8> {
    (0..3_000_000_u32).map(|byte| (byte * 7 % 251) as u8).collect()
}

fn server() -> Server {
    Server::new(COMMIT, files())
}

/// A large file, which has a SHA-256 for an ETag, and a small one, which has Git's hash.
fn files() -> [(&'static str, Vec<u8>, String); 2] {
    let config = b"{\"model_type\": \"bert\"}\n".to_vec();
    let large = hex::encode(Sha256::digest(weights()));
    [
        ("model.safetensors", weights(), large),
        // `git hash-object config.json`
        (
            "config.json",
            config,
            "dc1fb7b6703fe03317c1a080b523bf475f3d4818".to_owned(),
        ),
    ]
}

fn settings(server: &Server, cache: &TempDir) -> Settings {
    Settings {
        endpoint: server.endpoint(),
        cache: cache.path().to_owned(),
        token: Some(TOKEN.to_owned()),
        is_offline: false,
        certificates: None,
        patience: Duration::from_millis(300),
        pause: Duration::from_millis(1),
    }
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub::new(&settings(server, cache)).unwrap()
}

fn model(revision: &str) -> HubModel {
    HubModel::parse(&format!("hf://org/tiny@{revision}")).unwrap()
}

fn fetch(server: &Server, cache: &TempDir) -> Result<Vec<u8>, HubError> {
    let path = hub(server, cache).file(&model(COMMIT), "model.safetensors")?;
    Ok(fs::read(path).unwrap())
}

/// No file under its own name but whole ones: what is half is called `….firn.incomplete`.
fn assert_nothing_half(cache: &Path) {
    let blobs = fs::read_dir(cache.join("models--org--tiny/blobs")).unwrap();
    for blob in blobs.map(|blob| blob.unwrap().path()) {
        let is_whole = fs::metadata(&blob).unwrap().len() == weights().len() as u64;
        let is_named = blob.extension().is_none();
        assert!(is_whole || !is_named, "{}", blob.display());
    }
}

#[test]
fn a_revision_is_a_commit_now_and_another_one_later() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let first = hub(&server, &cache).snapshot(&model("main")).unwrap();
    assert_eq!(first.model, model(COMMIT));
    assert_eq!(
        first.files.iter().map(String::as_str).collect::<Vec<_>>(),
        ["config.json", "model.safetensors"]
    );
    server.move_main(LATER);
    let later = hub(&server, &cache).snapshot(&model("main")).unwrap();
    assert_eq!(later.model, model(LATER), "what the cache says of a branch is old news");
    // A branch with a `/` is one part of the path.
    hub(&server, &cache).snapshot(&model("refs/pr/1")).unwrap();
    assert!(
        server
            .asked()
            .iter()
            .any(|path| path.ends_with("/revision/refs%2Fpr%2F1"))
    );
}

#[test]
fn a_file_is_fetched_once_and_lies_as_the_hubs_own_tools_lay_it() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    assert_eq!(fetch(&server, &cache).unwrap(), weights());
    let asked = server.asked().len();
    assert_eq!(fetch(&server, &cache).unwrap(), weights());
    assert_eq!(server.asked().len(), asked, "what is cached is not asked for");
    let link = cache
        .path()
        .join(format!("models--org--tiny/snapshots/{COMMIT}/model.safetensors"));
    let blob = hex::encode(Sha256::digest(weights()));
    assert_eq!(fs::read_link(link).unwrap(), Path::new("../../blobs").join(blob));
}

#[test]
fn a_file_that_is_not_there_is_asked_for_once() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    assert_eq!(
        hub(&server, &cache).find(&model(COMMIT), "tokenizer.json").unwrap(),
        None
    );
    let asked = server.asked().len();
    assert_eq!(
        hub(&server, &cache).find(&model(COMMIT), "tokenizer.json").unwrap(),
        None
    );
    assert_eq!(server.asked().len(), asked);
    let refused = hub(&server, &cache).file(&model(COMMIT), "tokenizer.json").unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("hf://org/tiny@{COMMIT} has no file `tokenizer.json`")
    );
}

#[test]
fn the_token_is_shown_to_the_hub_and_to_no_server_that_it_sends_to() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.store_elsewhere();
    assert_eq!(fetch(&server, &cache).unwrap(), weights());
    assert_eq!(
        server.asked_of_the_store(),
        ["none"],
        "the address of the bytes is asked for them without a token"
    );
}

#[test]
fn a_transfer_that_breaks_goes_on_where_it_broke() {
    for trouble in [Trouble::ClosedHalfWay, Trouble::SilentHalfWay] {
        let (server, cache) = (server(), TempDir::new().unwrap());
        server.next(&[trouble]);
        assert_eq!(fetch(&server, &cache).unwrap(), weights(), "{trouble:?}");
        assert_eq!(server.ranges(), ["bytes=0-", "bytes=1500000-"], "{trouble:?}");
    }
}

#[test]
fn what_a_killed_process_left_is_gone_on_with_and_what_is_damaged_in_it_is_not_kept() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let etag = hex::encode(Sha256::digest(weights()));
    let partial = cache
        .path()
        .join(format!("models--org--tiny/blobs/{etag}.firn.incomplete"));
    fs::create_dir_all(partial.parent().unwrap()).unwrap();
    fs::write(&partial, &weights()[..1_000_000]).unwrap();
    assert_eq!(fetch(&server, &cache).unwrap(), weights());
    assert_eq!(server.ranges(), ["bytes=1000000-"]);
    // Of another length, of the whole length, longer than that: all with other bytes.
    for length in [1_000, 3_000_000, 4_000_000] {
        let (server, cache) = (self::server(), TempDir::new().unwrap());
        let partial = cache
            .path()
            .join(format!("models--org--tiny/blobs/{etag}.firn.incomplete"));
        fs::create_dir_all(partial.parent().unwrap()).unwrap();
        fs::write(&partial, vec![9; length]).unwrap();
        assert_eq!(fetch(&server, &cache).unwrap(), weights(), "{length} bytes");
    }
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.next(&[Trouble::ClosedHalfWay, Trouble::WithoutRanges]);
    assert_eq!(fetch(&server, &cache).unwrap(), weights());
}

#[test]
fn bytes_that_are_not_those_announced_are_fetched_again_and_then_refused() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.next(&[Trouble::OtherBytes]);
    assert_eq!(fetch(&server, &cache).unwrap(), weights());

    let (server, cache) = (self::server(), TempDir::new().unwrap());
    server.next(&[Trouble::OtherBytes, Trouble::OtherBytes]);
    let refused = fetch(&server, &cache).unwrap_err();
    let (expected, found) = (Sha256::digest(weights()), Sha256::digest(vec![b'?'; weights().len()]));
    assert_eq!(
        refused.to_string(),
        format!(
            "hf://org/tiny@{COMMIT}/model.safetensors came from {} with other bytes than it announces: expected the digest {}, found {}",
            server.endpoint(),
            hex::encode(expected),
            hex::encode(found)
        )
    );
    assert!(refused.is_passing());
    assert_nothing_half(cache.path());
}

#[test]
fn a_small_file_has_the_hash_that_git_has_of_it() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    hub(&server, &cache).file(&model(COMMIT), "config.json").unwrap();
    server.next(&[Trouble::OtherBytes, Trouble::OtherBytes]);
    let other = TempDir::new().unwrap();
    let refused = hub(&server, &other).file(&model(COMMIT), "config.json").unwrap_err();
    assert!(matches!(refused, HubError::Damaged { .. }), "{refused}");
}

#[test]
fn a_server_that_stays_away_in_the_middle_is_given_up_and_nothing_half_is_taken_for_whole() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.next(&[Trouble::ClosedHalfWay]);
    server.then_always(Trouble::ClosedAtOnce);
    let refused = fetch(&server, &cache).unwrap_err();
    assert!(matches!(refused, HubError::Failed { .. }), "{refused}");
    assert_nothing_half(cache.path());
    assert!(
        !cache
            .path()
            .join(format!("models--org--tiny/snapshots/{COMMIT}/model.safetensors"))
            .exists()
    );
    // What came is kept for the next one.
    server.recover();
    assert_eq!(fetch(&server, &cache).unwrap(), weights());
    assert_eq!(server.ranges().last().unwrap(), "bytes=1500000-");
}

#[test]
fn many_at_once_fetch_a_file_once() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    thread::scope(|scope| {
        let all: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| fetch(&server, &cache).unwrap()))
            .collect();
        for one in all {
            assert_eq!(one.join().unwrap(), weights());
        }
    });
    assert_eq!(server.ranges(), ["bytes=0-"]);
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    hub(&server, &cache).snapshot(&model("main")).unwrap();
    fetch(&server, &cache).unwrap();
    let asked = server.asked().len();
    let offline = Hub::new(&Settings {
        is_offline: true,
        ..settings(&server, &cache)
    });
    let offline = offline.unwrap();
    let snapshot = offline.snapshot(&model("main")).unwrap();
    assert_eq!(snapshot.model, model(COMMIT));
    assert_eq!(snapshot.files.into_iter().collect::<Vec<_>>(), ["model.safetensors"]);
    offline.file(&model(COMMIT), "model.safetensors").unwrap();
    let place = cache.path().display();
    for (refused, what) in [
        (
            offline.snapshot(&model("v2")).map(|_| ()),
            "hf://org/tiny@v2".to_owned(),
        ),
        (
            offline.file(&model(COMMIT), "config.json").map(|_| ()),
            format!("hf://org/tiny@{COMMIT}/config.json"),
        ),
    ] {
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("{what} is not in the cache {place}, and HF_HUB_OFFLINE is set")
        );
    }
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn what_the_hub_refuses_is_told_with_what_to_do() {
    let server = server();
    let cache = TempDir::new().unwrap();
    let told = |changed: Settings, name: &str| {
        let model = HubModel::parse(&format!("hf://{name}")).unwrap();
        let refused = Hub::new(&changed).unwrap().snapshot(&model).unwrap_err();
        refused.to_string().replace(&changed.endpoint, "HUB")
    };
    let usual = || settings(&server, &cache);
    let nobody = || Settings { token: None, ..usual() };
    let wrong = || Settings {
        token: Some("hf_wrong".to_owned()),
        ..usual()
    };
    assert_eq!(
        told(nobody(), "org/tiny"),
        "HUB has no model org/tiny, or does not show it without a token (HTTP 401): check the name, and set HF_TOKEN where it is private or gated"
    );
    let message = told(wrong(), "org/tiny");
    assert_eq!(
        message,
        "HUB has no model org/tiny, or does not show it to the owner of the token in use (HTTP 401): check the name, and whether HF_TOKEN is still \
         valid and may read it"
    );
    assert!(!message.contains("hf_wrong"));
    assert!(
        told(usual(), "org/other")
            .starts_with("HUB has no model org/other, or does not show it to the owner of the token in use (HTTP 404)")
    );
    assert_eq!(
        told(usual(), "org/tiny@nowhere"),
        "HUB has the model org/tiny, but no branch, tag or commit `nowhere` of it"
    );
    assert_eq!(
        told(usual(), "org/gated"),
        "org/gated is gated: ask for access at HUB/org/gated, and set HF_TOKEN to a token of the account that has it"
    );
    assert_eq!(
        told(usual(), "org/broken"),
        "fetching hf://org/broken@main from HUB: it answered with HTTP 500"
    );
    let unreachable = Settings {
        // A port that nobody listens on: this process has just given it back.
        endpoint: format!("http://{}", server::free_address()),
        ..usual()
    };
    let message = told(unreachable, "org/tiny");
    assert!(
        message.starts_with("fetching hf://org/tiny@main from HUB: io: Connection refused"),
        "{message}"
    );
}

#[test]
fn a_failure_that_passes_is_asked_again() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    server.fail_api(2);
    hub(&server, &cache).snapshot(&model("main")).unwrap();
    server.fail_api(3);
    hub(&server, &cache).snapshot(&model("main")).unwrap_err();
}

#[test]
fn silence_is_not_asked_again() {
    let cache = TempDir::new().unwrap();
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        endpoint: format!("http://{}", silent.local_addr().unwrap()),
        ..settings(&server(), &cache)
    };
    let refused = Hub::new(&settings).unwrap().snapshot(&model("main")).unwrap_err();
    assert!(refused.to_string().contains(": timeout: "), "{refused}");
    silent.set_nonblocking(true).unwrap();
    assert!(silent.accept().is_ok() && silent.accept().is_err(), "one connection");
}

#[test]
fn a_server_is_known_by_its_certificate() {
    let (server, cache) = (Server::over_tls(COMMIT, files()), TempDir::new().unwrap());
    let stranger = fetch(&server, &cache).unwrap_err().to_string();
    assert!(
        stranger.contains("invalid peer certificate: UnknownIssuer"),
        "{stranger}"
    );
    let certificate = cache.path().join("mirror.pem");
    fs::write(&certificate, server.certificate.as_ref().unwrap()).unwrap();
    let settings = Settings {
        certificates: Some(certificate),
        ..settings(&server, &cache)
    };
    let path = Hub::new(&settings)
        .unwrap()
        .file(&model(COMMIT), "model.safetensors")
        .unwrap();
    assert_eq!(fs::read(path).unwrap(), weights());
}

#[test]
fn certificates_of_ones_own_have_to_be_there() {
    let (server, cache) = (server(), TempDir::new().unwrap());
    let settings = Settings {
        certificates: Some("/nowhere.pem".into()),
        ..settings(&server, &cache)
    };
    let refused = Hub::new(&settings).err().unwrap();
    assert_eq!(
        refused.to_string(),
        "SSL_CERT_FILE: expected certificates (PEM) in /nowhere.pem, found none"
    );
}
