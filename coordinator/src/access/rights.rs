//! The table of rights: every method of every service, what a caller must be allowed to do to call it, and what its message touches.
//!
//! A method that is added to a service gets a row here; a test fails while it has none, and the gate refuses it.

use firn_core::state::Role;

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To look at jobs and at the workers that they may run on.
    See,
    /// To begin, change, end and remove jobs.
    Change,
    /// To offer a machine, and do what its ranks do.
    Serve,
    /// To decide about workers, quotas and access.
    Administer,
    /// To ask which services there are.
    Look,
}

impl Right {
    /// Roles that have it.
    pub fn roles(self) -> &'static [Role] {
        match self {
            Self::See => &[Role::Administrator, Role::Submitter, Role::Reader],
            Self::Change => &[Role::Administrator, Role::Submitter],
            Self::Serve => &[Role::Administrator, Role::Agent],
            Self::Administer => &[Role::Administrator],
            Self::Look => &Role::ALL,
        }
    }
}

/// What the message of a call touches: the caller's scope must hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touches {
    /// The job that is named.
    Job,
    /// The namespace that is named.
    Namespace,
    /// A list: what is not within the scope is left out.
    List,
    /// The worker that attaches: it serves what is within the scope, whatever it says.
    Worker,
    /// Everything.
    All,
}

/// What a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `JobService`, …
    pub service: &'static str,
    /// `GetJob`, …
    pub method: &'static str,
    /// What a caller must be allowed to do.
    pub right: Right,
    /// What is within its scope then.
    pub touches: Touches,
}

const fn row(service: &'static str, method: &'static str, right: Right, touches: Touches) -> Row {
    Row {
        service,
        method,
        right,
        touches,
    }
}

const JOBS: &str = "JobService";
const WORKERS: &str = "WorkerService";
const RANKS: &str = "RankService";
const ACCESS: &str = "AccessService";

/// Every method.
pub const TABLE: &[Row] = &[
    row(JOBS, "CreateJob", Right::Change, Touches::Namespace),
    row(JOBS, "GetJob", Right::See, Touches::Job),
    row(JOBS, "ListJobs", Right::See, Touches::List),
    row(JOBS, "WatchJob", Right::See, Touches::Job),
    row(JOBS, "CancelJob", Right::Change, Touches::Job),
    row(JOBS, "SuspendJob", Right::Change, Touches::Job),
    row(JOBS, "ResumeJob", Right::Change, Touches::Job),
    row(JOBS, "UpdateJob", Right::Change, Touches::Job),
    row(JOBS, "DeleteJob", Right::Change, Touches::Job),
    row(JOBS, "StreamLogs", Right::See, Touches::Job),
    row(JOBS, "ListSteps", Right::See, Touches::Job),
    row(JOBS, "ListArtifacts", Right::See, Touches::Job),
    row(JOBS, "DownloadArtifact", Right::See, Touches::Job),
    row(JOBS, "VerifyJob", Right::See, Touches::Job),
    row(JOBS, "ListWorkers", Right::See, Touches::List),
    row(JOBS, "DrainWorker", Right::Administer, Touches::All),
    row(JOBS, "SetQuota", Right::Administer, Touches::All),
    row(JOBS, "ListQuotas", Right::See, Touches::List),
    row(WORKERS, "Attach", Right::Serve, Touches::Worker),
    row(RANKS, "Enrol", Right::Serve, Touches::Job),
    row(RANKS, "Pulse", Right::Serve, Touches::Job),
    row(RANKS, "Join", Right::Serve, Touches::Job),
    row(RANKS, "ShareCollectiveId", Right::Serve, Touches::Job),
    row(RANKS, "RegisterDataset", Right::Serve, Touches::Job),
    row(RANKS, "RegisterModel", Right::Serve, Touches::Job),
    row(RANKS, "LeaseShard", Right::Serve, Touches::Job),
    row(RANKS, "CompleteShard", Right::Serve, Touches::Job),
    row(RANKS, "CommitSteps", Right::Serve, Touches::Job),
    row(RANKS, "QuarantineSample", Right::Serve, Touches::Job),
    row(RANKS, "Upload", Right::Serve, Touches::Job),
    row(RANKS, "FetchCheckpoint", Right::Serve, Touches::Job),
    row(RANKS, "CommitCheckpoint", Right::Serve, Touches::Job),
    row(RANKS, "RejectCheckpoint", Right::Serve, Touches::Job),
    row(RANKS, "RequestRollback", Right::Serve, Touches::Job),
    row(RANKS, "RecordArtifact", Right::Serve, Touches::Job),
    row(RANKS, "FinishJob", Right::Serve, Touches::Job),
    row(RANKS, "ReportFailure", Right::Serve, Touches::Job),
    row(ACCESS, "CreateToken", Right::Administer, Touches::All),
    row(ACCESS, "ListTokens", Right::Administer, Touches::All),
    row(ACCESS, "RevokeToken", Right::Administer, Touches::All),
    row(ACCESS, "RotateToken", Right::Administer, Touches::All),
];

/// What a path of a call needs: `/firn.v1alpha1.JobService/GetJob`. `None`: no row allows it to anybody.
pub fn of_path(path: &str) -> Option<(&str, Right)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    if service.starts_with("grpc.reflection.") {
        return Some((method, Right::Look));
    }
    let service = service.strip_prefix("firn.v1alpha1.")?;
    let found = TABLE.iter().find(|row| row.service == service && row.method == method);
    found.map(|row| (method, row.right))
}

/// The table as it stands in the documents.
pub fn page() -> String {
    let mut page = String::from("| call |");
    for role in Role::ALL {
        page.push_str(&format!(" {role} |"));
    }
    page.push_str(" within its scope |\n|---|---|---|---|---|---|\n");
    for row in TABLE {
        let may = Role::ALL.map(|role| {
            if row.right.roles().contains(&role) {
                "yes"
            } else {
                "–"
            }
        });
        let touches = match row.touches {
            Touches::Job => "the job",
            Touches::Namespace => "the namespace of the job",
            Touches::List => "what is listed",
            Touches::Worker => "what the worker serves",
            Touches::All => "everything",
        };
        page.push_str(&format!(
            "| `{}/{}` | {} | {touches} |\n",
            row.service,
            row.method,
            may.join(" | ")
        ));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_every_service_has_one_row() {
        let descriptors = FileDescriptorSet::decode(firn_proto::FILE_DESCRIPTOR_SET).unwrap();
        let services = descriptors.file.iter().filter(|file| file.package() == "firn.v1alpha1");
        let services = services.flat_map(|file| &file.service);
        let methods: BTreeSet<(&str, &str)> = services
            .flat_map(|service| service.method.iter().map(|method| (service.name(), method.name())))
            .collect();
        let rows: BTreeSet<(&str, &str)> = TABLE.iter().map(|row| (row.service, row.method)).collect();
        assert_eq!(rows.len(), TABLE.len(), "a method has two rows");
        assert_eq!(
            rows, methods,
            "left: methods with a row in TABLE; right: methods of the services"
        );
    }

    #[test]
    fn a_path_without_a_row_is_allowed_to_nobody() {
        assert_eq!(
            of_path("/firn.v1alpha1.JobService/GetJob"),
            Some(("GetJob", Right::See))
        );
        for path in [
            "",
            "/",
            "/firn.v1alpha1.JobService/",
            "/firn.v1alpha1.JobService/Nothing",
            "/other.JobService/GetJob",
        ] {
            assert_eq!(of_path(path), None, "{path}");
        }
    }

    #[test]
    fn the_documents_show_the_table() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/ACCESS.md");
        let text = fs::read_to_string(&file).unwrap();
        let (begin, end) = ("<!-- table of rights -->\n", "<!-- end of the table -->");
        let (before, rest) = text.split_once(begin).unwrap();
        let (shown, after) = rest.split_once(end).unwrap();
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, format!("{before}{begin}{}{end}{after}", page())).unwrap();
            return;
        }
        assert!(
            shown == page(),
            "deploy/ACCESS.md is stale; write it anew with: BLESS=1 cargo test --release --workspace --lib the_documents_show_the_table"
        );
    }
}
