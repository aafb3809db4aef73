//! A node of a test's cluster: what a kubelet and a Service proxy do, with the pods as processes of this machine.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use firn_kubernetes_tests::node::{self, confinement, sandbox};

#[derive(Debug, Parser)]
#[command(name = "firn-test-node", about = "A node of a test's cluster")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the pods that are bound to a node
    Run(Box<node::Settings>),
    /// Hold the network of one pod
    Hold,
    /// Hold the namespaces of one container; what it is comes on the input
    Confine,
    /// Become the first process of a container
    Enter,
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Run(settings) => node::run(*settings),
        Command::Hold => sandbox::hold(),
        Command::Confine => confinement::confine(),
        Command::Enter => Ok(confinement::enter()),
    }
}
