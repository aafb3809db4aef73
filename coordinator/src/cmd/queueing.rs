//! What `firn submit` and `firn run` write into the job's place in the queue.

use clap::Args;
use firn_proto::v1alpha1::FineTuneJob;

/// Where the job stands among others.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct QueueingArgs {
    /// Namespace of the job, whatever the file says
    #[arg(long)]
    namespace: Option<String>,
    /// Priority of the job, whatever the file says: higher ones are served first
    #[arg(long, value_name = "N")]
    priority: Option<u32>,
}

impl QueueingArgs {
    /// Writes what was asked for into the job.
    pub(crate) fn write_into(&self, job: &mut FineTuneJob) {
        if let Some(namespace) = &self.namespace {
            namespace.clone_into(&mut job.metadata.get_or_insert_default().namespace);
        }
        if self.priority.is_some() {
            let spec = job.spec.get_or_insert_default();
            spec.scheduling.get_or_insert_default().priority = self.priority;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::view::samples;

    #[test]
    fn what_is_asked_for_replaces_what_the_file_says_and_the_rest_stays() {
        let mut job = samples::queued();
        let before = job.clone();
        QueueingArgs::default().write_into(&mut job);
        assert_eq!(job, before);
        let args = QueueingArgs {
            namespace: Some("team-a".to_owned()),
            priority: Some(7),
        };
        args.write_into(&mut job);
        assert_eq!(job.metadata.as_ref().unwrap().namespace, "team-a");
        let scheduling = job.spec.as_ref().unwrap().scheduling.clone().unwrap();
        assert_eq!(scheduling.priority, Some(7));
        assert_eq!(job.metadata.unwrap().name, before.metadata.unwrap().name);
    }
}
