//! `firn delete JOB`: removes jobs that are over, with all that they left.

use clap::Args;
use firn_proto::v1alpha1::DeleteJobRequest;
use serde_json::json;
use uuid::Uuid;

use super::{
    connection::{Connection, job_id, resource_name, unary},
    console::Console,
    error::CommandError,
    outcome::Outcome,
    settings::ConnectionArgs,
    view::{Format, document},
};

/// Removes jobs that have ended: records, logs, checkpoints and files that the coordinator keeps. What lies elsewhere stays
#[derive(Debug, Args)]
pub struct DeleteArgs {
    /// Ids of the jobs
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: DeleteArgs, console: &mut Console) -> Result<Outcome, CommandError> {
    let connection = Connection::open(&args.connection)?;
    for job in &args.jobs {
        let request = DeleteJobRequest {
            name: resource_name(job),
            request_id: Uuid::new_v4().to_string(),
        };
        let deleted = connection.repeated(|mut jobs| {
            let request = unary(request.clone());
            async move { jobs.delete_job(request).await }
        });
        deleted.await.map_err(|status| connection.refusal(&status))?;
        let id = job_id(job);
        if args.output.is_human() {
            console.data(&format!("{id} Deleted"))?;
        } else {
            let deleted = json!({ "name": resource_name(job), "deleted": true });
            console.data(&document::render_next(&deleted, args.output)?)?;
        }
    }
    Ok(Outcome::Success)
}
