//! The tools of the fault tests do what they say. Nothing of Firn runs here.

use std::{
    io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Stdio,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use firn_proto::v1alpha1::{
    AgentCommand, AgentHeartbeat, AgentMessage, LogAck,
    agent_command::Command,
    agent_message::Message,
    worker_service_client::WorkerServiceClient,
    worker_service_server::{WorkerService, WorkerServiceServer},
};
use firn_tests::{
    disk::SmallDisk,
    network::Network,
    proxy::{
        calls::{CallProxy, Fault},
        link::{Link, LinkProxy},
    },
};
use tonic::{
    Code, Request, Response, Status, Streaming,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// What must not come is waited for this long.
const SILENCE: Duration = Duration::from_millis(200);
/// What must come and takes this long has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// Answers every line with the same line.
fn echo(address: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    let server = listener.try_clone()?;
    thread::spawn(move || {
        for connection in server.incoming().flatten() {
            thread::spawn(move || std::io::copy(&mut &connection, &mut &connection));
        }
    });
    Ok(listener)
}

fn line(connection: &mut TcpStream) -> std::io::Result<String> {
    let mut text = Vec::new();
    let mut byte = [0];
    while connection.read(&mut byte)? == 1 && byte[0] != b'\n' {
        text.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// True if nothing comes, and nobody hangs up, for a moment.
fn is_silent(connection: &mut TcpStream) -> anyhow::Result<bool> {
    connection.set_read_timeout(Some(SILENCE))?;
    let silent = matches!(connection.read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    connection.set_read_timeout(Some(LIMIT))?;
    Ok(silent)
}

#[test]
fn a_link_passes_holds_delays_and_is_cut() -> anyhow::Result<()> {
    let server = echo("127.0.0.1:0")?;
    let proxy = LinkProxy::start(server.local_addr()?)?;
    let mut connection = TcpStream::connect(proxy.address())?;
    connection.set_read_timeout(Some(LIMIT))?;
    writeln!(connection, "one")?;
    assert_eq!(line(&mut connection)?, "one");

    proxy.set(Link::Freeze);
    writeln!(connection, "two")?;
    assert!(is_silent(&mut connection)?);
    proxy.set(Link::Pass);
    assert_eq!(line(&mut connection)?, "two", "what was held is not lost");

    proxy.set(Link::Delay(Duration::from_millis(50)));
    let sent = Instant::now();
    writeln!(connection, "three")?;
    assert_eq!(line(&mut connection)?, "three");
    assert!(
        sent.elapsed() >= Duration::from_millis(100),
        "50 ms there and 50 ms back"
    );

    proxy.set(Link::Cut);
    assert_eq!(
        line(&mut connection).unwrap_or_default(),
        "",
        "the connection has ended"
    );
    let mut refused = TcpStream::connect(proxy.address())?;
    refused.set_read_timeout(Some(LIMIT))?;
    assert_eq!(line(&mut refused).unwrap_or_default(), "");

    proxy.set(Link::Pass);
    let mut again = TcpStream::connect(proxy.address())?;
    writeln!(again, "four")?;
    assert_eq!(line(&mut again)?, "four");
    Ok(())
}

/// A server on the test's own runtime, whose calls are counted, with their tokens.
struct Origin {
    address: String,
    tokens: Arc<Mutex<Vec<String>>>,
}

impl Origin {
    fn start() -> anyhow::Result<Self> {
        let tokens = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&tokens);
        let note = move |request: Request<()>| {
            let token = request.metadata().get("authorization");
            let token = token.and_then(|token| token.to_str().ok()).unwrap_or("none").to_owned();
            heard.lock().expect("nothing panics here").push(token);
            Ok::<_, Status>(request)
        };
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into())?;
        let address = incoming.local_addr()?.to_string();
        let (_, health) = tonic_health::server::health_reporter();
        let service = tonic::service::interceptor::InterceptedService::new(health, note);
        let counting = WorkerServiceServer::new(Counting);
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .add_service(counting)
                .serve_with_incoming(incoming),
        );
        Ok(Self { address, tokens })
    }

    fn calls(&self) -> usize {
        self.tokens.lock().expect("nothing panics here").len()
    }
}

/// Answers a stream with the number of its messages, once it has ended.
struct Counting;

fn count_command(count: u64) -> Command {
    Command::LogAck(LogAck {
        next_sequence: count,
        ..LogAck::default()
    })
}

#[tonic::async_trait]
impl WorkerService for Counting {
    type AttachStream = tokio_stream::Once<Result<AgentCommand, Status>>;

    async fn attach(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::AttachStream>, Status> {
        let mut messages = request.into_inner();
        let mut count = 0;
        while messages.message().await?.is_some() {
            count += 1;
        }
        let command = Some(count_command(count));
        Ok(Response::new(tokio_stream::once(Ok(AgentCommand { command }))))
    }
}

async fn connect(proxy: &CallProxy) -> anyhow::Result<Channel> {
    Ok(
        tonic::transport::Endpoint::from_shared(format!("http://{}", proxy.address()))?
            .connect()
            .await?,
    )
}

/// Asks for the health of a service; only the one with the empty name is known.
async fn check(channel: &Channel, service: &str) -> Result<i32, Status> {
    let mut request = Request::new(HealthCheckRequest {
        service: service.to_owned(),
    });
    let token = "Bearer secret".parse().expect("it is visible ASCII");
    request.metadata_mut().insert("authorization", token);
    let answer = HealthClient::new(channel.clone()).check(request).await?;
    Ok(answer.into_inner().status)
}

#[tokio::test]
async fn calls_pass_with_their_token_and_their_answer() -> anyhow::Result<()> {
    let origin = Origin::start()?;
    let proxy = CallProxy::start(&origin.address)?;
    let channel = connect(&proxy).await?;
    assert_eq!(check(&channel, "").await?, 1, "SERVING");
    assert_eq!(check(&channel, "unknown").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        *origin.tokens.lock().expect("nothing panics here"),
        ["Bearer secret", "Bearer secret"]
    );
    assert!(proxy.deliveries().is_empty(), "nothing was asked for");
    Ok(())
}

#[tokio::test]
async fn a_call_is_sent_twice_or_again_after_another_or_again_when_the_test_says_so() -> anyhow::Result<()> {
    let origin = Origin::start()?;
    let proxy = CallProxy::start(&origin.address)?;
    let channel = connect(&proxy).await?;
    proxy.inject("Check", Fault::Twice, 1);
    assert_eq!(check(&channel, "").await?, 1);
    assert_eq!(origin.calls(), 2);

    proxy.inject("Check", Fault::AgainAfter("Check"), 1);
    proxy.inject("Check", Fault::Keep, 1);
    assert_eq!(check(&channel, "unknown").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(origin.calls(), 3, "not yet");
    assert_eq!(check(&channel, "").await?, 1, "the later call gets its own answer");
    assert_eq!(origin.calls(), 5);
    let late = proxy
        .wait_for(|delivery| delivery.repeated && delivery.code == Code::NotFound)
        .await?;
    assert_eq!(late.method, "Check");

    let kept = proxy.send_kept().await?;
    assert_eq!(
        kept.iter()
            .map(|delivery| (delivery.repeated, delivery.code))
            .collect::<Vec<_>>(),
        [(true, Code::Ok)]
    );
    assert_eq!(origin.calls(), 6);
    assert!(proxy.send_kept().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_call_or_its_answer_is_lost_as_often_as_asked() -> anyhow::Result<()> {
    let origin = Origin::start()?;
    let proxy = CallProxy::start(&origin.address)?;
    let channel = connect(&proxy).await?;
    proxy.inject("Check", Fault::LoseAnswer, 1);
    proxy.inject("Check", Fault::LoseCall, 2);
    for _ in 0..3 {
        assert_eq!(check(&channel, "").await.unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(origin.calls(), 1);
    proxy.inject("Check", Fault::LoseCall, usize::MAX);
    proxy.clear();
    assert_eq!(check(&channel, "").await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_stream_of_messages_is_repeated_whole() -> anyhow::Result<()> {
    let origin = Origin::start()?;
    let proxy = CallProxy::start(&origin.address)?;
    let mut client = WorkerServiceClient::new(connect(&proxy).await?);
    let messages = (0..3).map(|sequence| AgentMessage {
        message: Some(Message::Heartbeat(AgentHeartbeat { sequence })),
    });
    proxy.inject("Attach", Fault::Twice, 1);
    let mut answers = client.attach(tokio_stream::iter(messages)).await?.into_inner();
    let counted = answers.message().await?.and_then(|answer| answer.command);
    assert_eq!(counted, Some(count_command(3)));
    assert_eq!(answers.message().await?, None);
    let deliveries = proxy.deliveries().into_iter();
    assert_eq!(
        deliveries
            .map(|delivery| (delivery.method, delivery.repeated, delivery.code))
            .collect::<Vec<_>>(),
        [
            ("Attach".to_owned(), false, Code::Ok),
            ("Attach".to_owned(), true, Code::Ok)
        ]
    );
    Ok(())
}

#[tokio::test]
async fn a_coordinator_that_is_away_is_unavailable_and_found_again() -> anyhow::Result<()> {
    let origin = Origin::start()?;
    let proxy = CallProxy::start("127.0.0.1:1")?;
    let nobody = check(&connect(&proxy).await?, "").await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unavailable);

    let link = LinkProxy::start(origin.address.parse()?)?;
    let proxy = CallProxy::start(&link.address().to_string())?;
    let channel = connect(&proxy).await?;
    assert_eq!(check(&channel, "").await?, 1);
    link.set(Link::Cut);
    assert_eq!(check(&channel, "").await.unwrap_err().code(), Code::Unavailable);
    link.set(Link::Pass);
    assert_eq!(check(&channel, "").await?, 1);
    Ok(())
}

/// Lines of a process in a host, as they come.
fn lines(output: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (said, heard) = channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if said.send(line).is_err() {
                break;
            }
        }
    });
    heard
}

#[test]
fn a_cable_that_is_pulled_holds_everything_until_it_is_plugged_in() -> anyhow::Result<()> {
    let Some(network) = Network::create(2) else {
        return Ok(());
    };
    let server = echo(&format!("{}:0", network.address()))?;
    let port = server.local_addr()?.port();
    let host = &network.hosts()[0];
    let script = format!("exec 3<>/dev/tcp/{}/{port}; cat <&3 & cat >&3; wait", network.address());
    let mut process = host
        .command("bash")
        .args(["-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut to = process.stdin.take().expect("it is piped");
    let from = lines(process.stdout.take().expect("it is piped"));
    writeln!(to, "up")?;
    assert_eq!(from.recv_timeout(LIMIT)?, "up");

    host.take_link_down()?;
    writeln!(to, "held")?;
    assert!(from.recv_timeout(SILENCE).is_err());
    host.bring_link_up()?;
    assert_eq!(from.recv_timeout(LIMIT)?, "held");

    // A host has a loopback of its own.
    let reaches = |address: &str| {
        let mut command = network.hosts()[1].command("bash");
        command.args(["-c", &format!("exec 3<>/dev/tcp/{address}/{port}")]);
        command.stderr(Stdio::null()).status().map(|status| status.success())
    };
    assert!(reaches(&network.address().to_string())?);
    assert!(!reaches("127.0.0.1")?);

    drop(network);
    assert!(!process.wait()?.success(), "it was killed with its network");
    Ok(())
}

#[test]
fn a_small_disk_fills_and_can_be_freed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 1 << 20)? else {
        return Ok(());
    };
    let file = disk.folder().join("file");
    let megabyte = vec![1; 1 << 20];
    disk.fill(8192)?;
    std::fs::write(&file, &megabyte[..4096])?;
    let error = std::fs::write(&file, &megabyte[..16384]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    disk.free()?;
    std::fs::write(&file, &megabyte[..16384])?;
    let at = disk.folder().to_owned();
    drop(disk);
    assert_eq!(std::fs::read_dir(at)?.count(), 0, "unmounted");
    Ok(())
}

#[test]
fn every_test_that_the_fault_matrix_names_is_there() -> anyhow::Result<()> {
    let root = firn_tests::binaries::repository();
    let matrix = std::fs::read_to_string(root.join("tests/FAULTS.md"))?;
    let mut named = 0;
    for quoted in matrix.split('`').skip(1).step_by(2) {
        let Some((place, test)) = quoted
            .rsplit_once("::")
            .filter(|(place, test)| !place.is_empty() && !test.is_empty())
        else {
            continue;
        };
        let file = match place.strip_prefix("faults::") {
            Some(module) => format!("tests/tests/faults/{module}.rs"),
            None => place.to_owned(),
        };
        let source = std::fs::read_to_string(root.join(&file))?;
        assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
        named += 1;
    }
    assert!(named >= 30, "{named} tests are named");
    Ok(())
}
