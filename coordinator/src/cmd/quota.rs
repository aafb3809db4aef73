//! `firn quota`: the most that namespaces may hold at once, and what they hold.

use clap::{Args, Subcommand};
use firn_proto::v1alpha1::{ListQuotasRequest, NamespaceUse, Quota, SetQuotaRequest};
use uuid::Uuid;

use super::{
    connection::{Connection, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document::render, quotas},
};

/// Lists and sets the most slots and jobs that namespaces may hold at once, without a restart of the coordinator
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct QuotaArgs {
    /// What to do [default: list]
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists what namespaces may hold, what they do hold, and how many of their jobs wait
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Sets the whole quota of a namespace: a limit that is not named is none
    Set(SetArgs),
    /// Takes the quota of a namespace back: it may hold everything
    Unset {
        /// Its name
        namespace: String,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
struct SetArgs {
    /// Its name
    namespace: String,
    /// Most slots that its gangs hold at once
    #[arg(long, value_name = "N", required_unless_present = "jobs")]
    slots: Option<u32>,
    /// Most of its jobs that hold slots at once
    #[arg(long, value_name = "N")]
    jobs: Option<u32>,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: QuotaArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let action = args.action.unwrap_or(Action::List { common: args.common });
    let (change, common) = match action {
        Action::List { common } => (None, common),
        Action::Set(SetArgs {
            namespace,
            slots,
            jobs,
            common,
        }) => (Some((namespace, Some(Quota { slots, jobs }))), common),
        Action::Unset { namespace, common } => (Some((namespace, None)), common),
    };
    let connection = Connection::open(&common.connection)?;
    match change {
        None => list(&connection, common.output, console).await,
        Some(change) => set(&connection, change, common.output, console).await,
    }
}

async fn list(connection: &Connection, output: Format, console: &mut Console) -> Result<Outcome, CommandError> {
    let answer = connection.jobs().list_quotas(unary(ListQuotasRequest {})).await;
    let namespaces = connection.answer(answer)?.namespaces;
    if !output.is_human() {
        console.data(&render(&quotas::document(&namespaces), output)?)?;
    } else if namespaces.is_empty() {
        console.say("no quotas, and no jobs that wait or run; set one with: firn quota set NAMESPACE --slots N");
    } else {
        console.data(&quotas::table(&namespaces))?;
    }
    Ok(Outcome::Success)
}

async fn set(
    connection: &Connection,
    (namespace, quota): (String, Option<Quota>),
    output: Format,
    console: &mut Console,
) -> Result<Outcome, CommandError> {
    let request = SetQuotaRequest {
        namespace,
        quota,
        request_id: Uuid::new_v4().to_string(),
    };
    let set = connection.repeated(|mut jobs| {
        let request = unary(request.clone());
        async move { jobs.set_quota(request).await }
    });
    let used: NamespaceUse = set.await.map_err(|status| connection.refusal(&status))?;
    match output.is_human() {
        true => console.data(&quotas::sentence(&used))?,
        false => console.data(&render(&quotas::of_namespace(&used), output)?)?,
    }
    Ok(Outcome::Success)
}
