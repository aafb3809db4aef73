//! One private model over HTTP/1.1, one thread a connection, and what may go wrong with it.

use std::{
    collections::{BTreeMap, VecDeque},
    io::{BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned, crypto::ring, pki_types::PrivateKeyDer};

pub(crate) const TOKEN: &str = "hf_of_the_tests";

/// What happens to the bytes of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Half of what is left comes, and the connection is closed.
    ClosedHalfWay,
    /// Half of what is left comes, and nothing after it.
    SilentHalfWay,
    ClosedAtOnce,
    OtherBytes,
    /// All of the file comes, whatever was asked for.
    WithoutRanges,
}

struct State {
    commit: String,
    main: String,
    /// Bytes and ETag.
    files: BTreeMap<String, (Vec<u8>, String)>,
    troubles: VecDeque<Trouble>,
    always: Option<Trouble>,
    failures_of_the_api: u32,
    store: Option<SocketAddr>,
    asked: Vec<String>,
    ranges: Vec<String>,
    tokens_at_the_store: Vec<String>,
}

impl State {
    fn new<const N: usize>(commit: &str, files: [(&str, Vec<u8>, String); N]) -> Arc<Mutex<Self>> {
        let files = files.into_iter();
        Arc::new(Mutex::new(Self {
            commit: commit.to_owned(),
            main: commit.to_owned(),
            files: files
                .map(|(name, bytes, etag)| (name.to_owned(), (bytes, etag)))
                .collect(),
            troubles: VecDeque::new(),
            always: None,
            failures_of_the_api: 0,
            store: None,
            asked: Vec::new(),
            ranges: Vec::new(),
            tokens_at_the_store: Vec::new(),
        }))
    }
}

pub(crate) struct Server {
    endpoint: String,
    /// By which it is known (PEM), if it is spoken to over TLS.
    pub(crate) certificate: Option<String>,
    state: Arc<Mutex<State>>,
}

/// Of a request: method, path, headers by their names in small letters.
struct Request(String, String, BTreeMap<String, String>);

impl Server {
    pub(crate) fn new<const N: usize>(commit: &str, files: [(&str, Vec<u8>, String); N]) -> Self {
        let state = State::new(commit, files);
        let endpoint = format!("http://{}", serve(&state, answer_as_the_hub, None));
        Self {
            endpoint,
            certificate: None,
            state,
        }
    }

    /// The same over TLS, with a certificate that nobody has signed.
    pub(crate) fn over_tls<const N: usize>(commit: &str, files: [(&str, Vec<u8>, String); N]) -> Self {
        let state = State::new(commit, files);
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let endpoint = format!("https://{}", serve(&state, answer_as_the_hub, Some(Arc::new(config))));
        Self {
            endpoint,
            certificate: Some(own.cert.pem()),
            state,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn move_main(&self, commit: &str) {
        self.state().main = commit.to_owned();
    }

    /// The next transfers have these troubles.
    pub(crate) fn next(&self, troubles: &[Trouble]) {
        self.state().troubles.extend(troubles);
    }

    /// All transfers after those have this one.
    pub(crate) fn then_always(&self, trouble: Trouble) {
        self.state().always = Some(trouble);
    }

    pub(crate) fn recover(&self) {
        self.state().always = None;
    }

    /// The next calls of the API are answered with a failure of the server.
    pub(crate) fn fail_api(&self, times: u32) {
        self.state().failures_of_the_api = times;
    }

    /// From now on large files are at another address.
    pub(crate) fn store_elsewhere(&self) {
        let address = serve(&self.state, answer_as_a_store, None);
        self.state().store = Some(address);
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// Of the transfers.
    pub(crate) fn ranges(&self) -> Vec<String> {
        self.state().ranges.clone()
    }

    pub(crate) fn asked_of_the_store(&self) -> Vec<String> {
        self.state().tokens_at_the_store.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

/// An address that nobody listens on.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

trait Stream: Read + Write {}

impl<S: Read + Write> Stream for S {}

type Answer = fn(&Mutex<State>, &Request, &mut dyn Stream);

fn serve(state: &Arc<Mutex<State>>, answer: Answer, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let state = Arc::clone(state);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (state, tls, mut stream) = (Arc::clone(&state), tls.clone(), stream.unwrap());
            thread::spawn(move || match tls {
                None => converse(&state, answer, &mut stream),
                Some(config) => {
                    let connection = ServerConnection::new(config).unwrap();
                    let mut stream = StreamOwned::new(connection, stream);
                    converse(&state, answer, &mut stream);
                    stream.conn.send_close_notify();
                    _ = stream.flush();
                }
            });
        }
    });
    address
}

fn converse(state: &Mutex<State>, answer: Answer, stream: &mut dyn Stream) {
    if let Some(request) = read(stream) {
        answer(state, &request, stream);
    }
}

fn read(stream: &mut dyn Stream) -> Option<Request> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some(Request(method, path, headers.collect()))
}

fn respond(stream: &mut dyn Stream, status: u16, headers: &[(&str, &str)], length: usize) {
    let mut head = format!("HTTP/1.1 {status} \r\nconnection: close\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    _ = stream.write_all((head + "\r\n").as_bytes());
}

fn answer_as_the_hub(state: &Mutex<State>, request: &Request, stream: &mut dyn Stream) {
    let Request(method, path, headers) = request;
    let mut locked = state.lock().unwrap();
    locked.asked.push(path.clone());
    if headers.get("authorization") != Some(&format!("Bearer {TOKEN}")) {
        return respond(stream, 401, &[("x-error-code", "RepoNotFound")], 0);
    }
    if let Some(rest) = path.strip_prefix("/api/models/org/") {
        let (name, revision) = rest.split_once("/revision/").unwrap();
        if locked.failures_of_the_api > 0 {
            locked.failures_of_the_api -= 1;
            return respond(stream, 503, &[], 0);
        }
        return match (name, revision) {
            ("gated", _) => respond(stream, 403, &[("x-error-code", "GatedRepo")], 0),
            ("broken", _) => respond(stream, 500, &[], 0),
            ("tiny", "nowhere") => respond(stream, 404, &[("x-error-code", "RevisionNotFound")], 0),
            ("tiny", _) => {
                let names = locked.files.keys();
                let siblings: Vec<String> = names.map(|name| format!("{{\"rfilename\": \"{name}\"}}")).collect();
                let body = format!(
                    "{{\"sha\": \"{}\", \"siblings\": [{}]}}",
                    locked.main,
                    siblings.join(",")
                );
                respond(stream, 200, &[], body.len());
                _ = stream.write_all(body.as_bytes());
            }
            _ => respond(stream, 404, &[("x-error-code", "RepoNotFound")], 0),
        };
    }
    let commit = locked.commit.clone();
    let file = path
        .strip_prefix(&format!("/org/tiny/resolve/{commit}/"))
        .unwrap_or_default();
    let Some((bytes, etag)) = locked.files.get(file).cloned() else {
        return respond(
            stream,
            404,
            &[("x-error-code", "EntryNotFound"), ("x-repo-commit", &commit)],
            0,
        );
    };
    let size = bytes.len().to_string();
    if let Some(store) = locked.store {
        let place = format!("http://{store}/{file}");
        let linked = format!("\"{etag}\"");
        let headers = [
            ("location", place.as_str()),
            ("x-repo-commit", &commit),
            ("x-linked-etag", &linked),
            ("x-linked-size", &size),
        ];
        return respond(stream, 302, &headers, 0);
    }
    let quoted = format!("\"{etag}\"");
    let about = [("etag", quoted.as_str()), ("x-repo-commit", &commit)];
    match method.as_str() {
        "HEAD" => respond(stream, 200, &about, bytes.len()),
        _ => send(locked, request, bytes, &about, stream),
    }
}

fn answer_as_a_store(state: &Mutex<State>, request: &Request, stream: &mut dyn Stream) {
    let mut locked = state.lock().unwrap();
    let token = request.2.get("authorization").cloned();
    locked
        .tokens_at_the_store
        .push(token.unwrap_or_else(|| "none".to_owned()));
    let (bytes, _) = locked.files[request.1.trim_start_matches('/')].clone();
    send(locked, request, bytes, &[], stream);
}

fn send(
    mut state: MutexGuard<'_, State>,
    Request(_, _, headers): &Request,
    bytes: Vec<u8>,
    about: &[(&str, &str)],
    stream: &mut dyn Stream,
) {
    let range = headers.get("range").cloned().unwrap_or_default();
    let start = range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    let mut start: usize = start.map_or(0, |start| start.parse().unwrap());
    state.ranges.push(range);
    let trouble = state.troubles.pop_front().or(state.always);
    // Others are served meanwhile.
    drop(state);
    let mut status = 206;
    if trouble == Some(Trouble::WithoutRanges) {
        (start, status) = (0, 200);
    }
    let part = &bytes[start..];
    let content = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    let ranged: Vec<_> = about
        .iter()
        .copied()
        .chain([("content-range", content.as_str())])
        .collect();
    match trouble {
        Some(Trouble::ClosedAtOnce) => {}
        Some(Trouble::ClosedHalfWay) => {
            respond(stream, status, &ranged, part.len());
            _ = stream.write_all(&part[..part.len() / 2]);
        }
        Some(Trouble::SilentHalfWay) => {
            respond(stream, status, &ranged, part.len());
            _ = stream.write_all(&part[..part.len() / 2]);
            // Until the other side has had enough.
            _ = stream.read(&mut [0]);
        }
        Some(Trouble::OtherBytes) => {
            respond(stream, status, &ranged, part.len());
            _ = stream.write_all(&vec![b'?'; part.len()]);
        }
        Some(Trouble::WithoutRanges) => {
            respond(stream, status, about, part.len());
            _ = stream.write_all(part);
        }
        None => {
            respond(stream, status, &ranged, part.len());
            _ = stream.write_all(part);
        }
    }
}
