//! `firn token`: who may speak to the coordinator.
//!
//! A secret is shown once, alone on standard output, so that it can be written to a file at once.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use firn_proto::v1alpha1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, RotateTokenRequest, Token};
use uuid::Uuid;

use super::{
    clock,
    connection::{Connection, resource_name, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    time_span,
    view::{Format, document::render, tokens},
};

/// Issues, lists, replaces and takes back tokens, without a restart of the coordinator
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Issues a token and prints its secret, this once
    Create(CreateArgs),
    /// Lists the tokens that are taken
    List(ListArgs),
    /// Takes tokens back; what was opened with them ends
    Revoke(RevokeArgs),
    /// Gives a token another secret and prints it, this once
    Rotate(RotateArgs),
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Role {
    /// Everything
    Administrator,
    /// Submits, changes and ends jobs, and sees them
    Submitter,
    /// Sees jobs
    Reader,
    /// Offers a machine, and what its ranks do
    Agent,
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// What its bearer may do
    #[arg(long, value_enum)]
    role: Role,
    /// Only for the jobs of this namespace [default: of all]
    #[arg(long, short, conflicts_with = "job")]
    namespace: Option<String>,
    /// Only for this job; the token ends when the job is deleted
    #[arg(long)]
    job: Option<String>,
    /// For how long it is taken, such as 12h or 30d [default: until it is revoked]
    #[arg(long, value_name = "TIME", value_parser = time_span::parse)]
    expires_in: Option<Duration>,
    /// Whose it is
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    /// Ids of the tokens
    #[arg(required = true, value_name = "TOKEN")]
    tokens: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Args)]
struct RotateArgs {
    /// Id of the token
    #[arg(value_name = "TOKEN")]
    token: String,
    /// For how long the secret before is taken, too, such as 10m [default: not at all]
    #[arg(long, value_name = "TIME", value_parser = time_span::parse)]
    grace: Option<Duration>,
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

pub(crate) async fn run(args: TokenArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    match args.action {
        Action::Create(args) => create(args, console).await,
        Action::List(args) => list(args, console).await,
        Action::Revoke(args) => revoke(args, console).await,
        Action::Rotate(args) => rotate(args, console).await,
    }
}

async fn create(args: CreateArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.common.connection)?;
    let role = args.role.to_possible_value().expect("every role has a word");
    let request = CreateTokenRequest {
        role: role.get_name().to_owned(),
        namespace: args.namespace.unwrap_or_default(),
        job: args.job.as_deref().map(resource_name).unwrap_or_default(),
        expires_in: args.expires_in.map(span).transpose()?,
        description: args.description,
    };
    let answer = connection.answer(connection.access().create_token(unary(request)).await)?;
    show(
        &answer.token.unwrap_or_default(),
        &answer.secret,
        args.common.output,
        console,
    )
}

async fn rotate(args: RotateArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.common.connection)?;
    let request = RotateTokenRequest {
        name: token_name(&args.token),
        grace: args.grace.map(span).transpose()?,
    };
    let answer = connection.answer(connection.access().rotate_token(unary(request)).await)?;
    show(
        &answer.token.unwrap_or_default(),
        &answer.secret,
        args.common.output,
        console,
    )
}

fn show(token: &Token, secret: &str, output: Format, console: &mut Console) -> Result<Outcome, CommandError> {
    if output.is_human() {
        console.say(&format!(
            "{}: {}; its secret is shown this once",
            tokens::id(token),
            tokens::rights(token)
        ));
        console.data(&format!("{secret}\n"))?;
    } else {
        let mut shown = tokens::document(token);
        shown["secret"] = secret.into();
        console.data(&render(&shown, output)?)?;
    }
    Ok(Outcome::Success)
}

async fn list(args: ListArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.common.connection)?;
    let answer = connection.access().list_tokens(unary(ListTokensRequest {})).await;
    let answer = connection.answer(answer)?.tokens;
    let output = args.common.output;
    if !output.is_human() {
        let shown: Vec<_> = answer.iter().map(tokens::document).collect();
        console.data(&render(&serde_json::json!({ "tokens": shown }), output)?)?;
    } else if answer.is_empty() {
        console.say("no tokens were issued; issue one with: firn token create --role ROLE");
    } else {
        console.data(&tokens::table(&answer, clock::now()))?;
    }
    Ok(Outcome::Success)
}

async fn revoke(args: RevokeArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    for token in &args.tokens {
        let request = RevokeTokenRequest {
            name: token_name(token),
            request_id: Uuid::new_v4().to_string(),
        };
        let answer = connection.access().revoke_token(unary(request)).await;
        connection.answer(answer)?;
        console.say(&format!("{token} is revoked"));
    }
    Ok(Outcome::Success)
}

fn token_name(token: &str) -> String {
    match token.starts_with("tokens/") {
        true => token.to_owned(),
        false => format!("tokens/{token}"),
    }
}

fn span(time: Duration) -> Result<prost_types::Duration, CommandError> {
    time.try_into()
        .map_err(|_| CommandError::Usage(format!("a time of {} seconds is too long", time.as_secs())))
}
