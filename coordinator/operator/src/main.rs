//! `firn-operator`: Firn on Kubernetes.

use std::io::IsTerminal as _;

use clap::{Parser, Subcommand};
use firn_operator::{controller, resource};
use tracing_subscriber::EnvFilter;

#[derive(Debug, Parser)]
#[command(name = "firn-operator", version, about = "Firn on Kubernetes")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the CustomResourceDefinition of FineTuneJob, for `kubectl apply --server-side -f -`
    Crd,
    /// Look after the FineTuneJobs of a cluster: give them to the coordinator, and give them pods
    Run(Box<controller::RunArgs>),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crd => print!("{}", resource::crd_yaml()?),
        Command::Run(args) => {
            let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
            tracing_subscriber::fmt()
                .with_env_filter(filter)
                .with_writer(std::io::stderr)
                .with_ansi(std::io::stderr().is_terminal())
                .init();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()?;
            runtime.block_on(controller::run(*args))?;
        }
    }
    Ok(())
}
