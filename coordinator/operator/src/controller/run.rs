//! The operator as a process: it waits for its turn, and then looks after the resources of the namespaces that it is given.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::Context as _;
use firn::cmd::ConnectionArgs;
use futures::{StreamExt as _, channel::mpsc::unbounded, future::join_all, stream};
use kube::{
    Api, Client, Config,
    runtime::{
        Controller, WatchStreamExt as _,
        events::{Recorder, Reporter},
        reflector::{reflector, store},
        watcher,
    },
};
use tracing::{info, warn};

use super::board;
use super::coordinator::Coordinator;
use super::followed::Jobs;
use super::lease::Leadership;
use super::let_go::LetGo;
use super::pods::{Pods, news};
use super::reconcile::{FIELD_MANAGER, Operator, after_error, reconcile};
use crate::resource::FineTuneJob;
use crate::workers::WorkerSettings;

/// For a connection to the API server: within the time in which the lease has to be renewed.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `firn-operator run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// YAML file with the settings of workers' pods
    #[arg(long, env = "FIRN_OPERATOR_SETTINGS", value_name = "FILE")]
    settings: PathBuf,
    /// Namespace whose resources are looked after; repeatable [default: all]
    #[arg(
        long = "watch-namespace",
        env = "FIRN_OPERATOR_NAMESPACES",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    namespaces: Vec<String>,
    /// Namespace of the operator itself, which holds its lease
    #[arg(
        long,
        env = "FIRN_OPERATOR_NAMESPACE",
        value_name = "NAMESPACE",
        default_value = "default"
    )]
    namespace: String,
    /// Name of the lease
    #[arg(
        long,
        env = "FIRN_OPERATOR_LEASE",
        value_name = "NAME",
        default_value = "firn-operator"
    )]
    lease: String,
    /// Name of this replica [default: the host name]
    #[arg(long, env = "FIRN_OPERATOR_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Address and port for probes and Prometheus: /livez, /readyz, /metrics and grpc.health.v1; it tells no secrets
    #[arg(long, env = "FIRN_HEALTH_LISTEN", value_name = "HOST:PORT")]
    health_listen: Option<SocketAddr>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs until SIGTERM or SIGINT, or until the lease is lost.
///
/// # Errors
/// If the settings cannot be read, the cluster cannot be found, or the lease is lost.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let workers = settings(&args.settings)?;
    let client = client().await?;
    let coordinator = Coordinator::new(args.connection);
    let holder = args.name.clone().or_else(|| std::env::var("HOSTNAME").ok());
    let holder = holder.unwrap_or_else(|| format!("firn-operator-{}", std::process::id()));
    let leadership = Leadership::new(client.clone(), &args.namespace, &args.lease, holder.clone());
    let mut stop = std::pin::pin!(stop_signal()?);
    let mut shown = std::pin::pin!(board::show(args.health_listen, leadership.standing()));
    let lease = tokio::select! {
        lease = leadership.acquire() => lease,
        failed = &mut shown => return failed,
        () = &mut stop => return Ok(()),
    };
    let lost = tokio::select! {
        failed = &mut shown => return failed,
        lost = leadership.keep() => Some(lost),
        () = serve(client, coordinator, workers, (args.namespaces, holder, lease)) => None,
        () = &mut stop => None,
    };
    match lost {
        Some(lost) => Err(lost.into()),
        None => {
            leadership.release().await;
            Ok(())
        }
    }
}

/// Of the API server that `KUBECONFIG` names, or that of the pod.
async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer()
        .await
        .context("no cluster was found: set KUBECONFIG, or run in a pod")?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Client::try_from(config).context("the API server cannot be asked with these credentials")
}

fn settings(path: &Path) -> anyhow::Result<WorkerSettings> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_yaml_ng::from_str(&text).with_context(|| format!("{}: these are no settings of workers", path.display()))
}

/// Resolves at the first SIGTERM or SIGINT.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn serve(
    client: Client,
    coordinator: Coordinator,
    workers: WorkerSettings,
    (namespaces, instance, lease): (Vec<String>, String, String),
) {
    let reporter = Reporter {
        controller: FIELD_MANAGER.to_owned(),
        instance: Some(instance),
    };
    let scopes: Vec<Option<String>> = match namespaces.is_empty() {
        true => vec![None],
        false => namespaces.into_iter().map(Some).collect(),
    };
    let controllers = scopes.into_iter().map(|scope| {
        let (client, coordinator, workers) = (client.clone(), coordinator.clone(), workers.clone());
        let recorder = Recorder::new(client.clone(), reporter.clone());
        let lease = lease.clone();
        look_after(client.clone(), scope, move |jobs, pods| Operator {
            client,
            coordinator,
            jobs,
            pods,
            workers,
            recorder,
            lease,
            let_go: LetGo::default(),
            memory: Mutex::default(),
        })
    });
    join_all(controllers).await;
}

/// Looks after the resources of one namespace, or of all.
async fn look_after(client: Client, scope: Option<String>, operator: impl FnOnce(Jobs, Pods) -> Operator) {
    let (changed, changes) = unbounded();
    let namespace = scope.as_deref();
    let (pods, streams) = Pods::of_namespace(&client, namespace, &changed);
    let operator = Arc::new(operator(Jobs::new(changed), pods.clone()));
    let resources: Api<FineTuneJob> = match namespace {
        None => Api::all(client.clone()),
        Some(namespace) => Api::namespaced(client.clone(), namespace),
    };
    let controller = async {
        // What is not known yet would be taken for what is not there.
        pods.ready().await;
        info!(namespace = namespace.unwrap_or("(all)"), "looking after FineTuneJobs");
        let (known, writer) = store();
        let told = known.clone();
        let events = reflector(writer, watcher(resources, watcher::Config::default()).default_backoff());
        let changed = events.flat_map(move |event| {
            let objects = match event {
                Ok(event) => news(event, &told),
                Err(error) => {
                    warn!(%error, "the stream of FineTuneJobs broke, opening it again");
                    Vec::new()
                }
            };
            stream::iter(objects).map(|object| Ok(Arc::unwrap_or_clone(object)))
        });
        let controller = Controller::for_stream(changed, known.clone());
        let looks = controller
            .reconcile_on(changes)
            .run(reconcile, after_error, operator.clone())
            .for_each(|_| std::future::ready(()));
        tokio::join!(looks, operator.sweep(&known, namespace));
    };
    tokio::join!(controller, join_all(streams));
}
