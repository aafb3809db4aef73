//! `firn-operator`: Firn on Kubernetes. Prints the definition of the resource.

use clap::{Parser, Subcommand};
use firn_operator::resource;

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
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Crd => print!("{}", resource::crd_yaml()?),
    }
    Ok(())
}
