//! What a call changes of a job: the fields that its mask names, with the values that its message gives them.

use firn_core::state::JobChanges;
use firn_proto::v1alpha1 as proto;
use tonic::Status;

use super::names::present;
use crate::api::refusal::invalid;

/// The fields that may change, as a mask names them.
const CHANGEABLE: [&str; 3] = [
    "spec.resources.workers.min",
    "spec.resources.workers.max",
    "spec.scheduling.priority",
];

/// The new values.
pub(crate) fn job_changes(request: &proto::UpdateJobRequest) -> Result<JobChanges, Status> {
    let job = present("job", request.job.as_ref())?;
    let paths = request.update_mask.as_ref().map_or(&[][..], |mask| &mask.paths);
    if paths.is_empty() {
        let expected = format!(
            "expected the fields that change ({}), found none",
            CHANGEABLE.join(", ")
        );
        return Err(invalid("update_mask", expected));
    }
    let spec = job.spec.as_ref();
    let workers = spec.and_then(|spec| spec.resources.as_ref()?.workers.as_ref());
    let priority = spec.and_then(|spec| spec.scheduling.as_ref()?.priority);
    let mut changes = JobChanges::default();
    for path in paths {
        let (change, value) = match path.as_str() {
            "spec.resources.workers.min" => (&mut changes.workers_min, workers.and_then(|workers| workers.min)),
            "spec.resources.workers.max" => (&mut changes.workers_max, workers.and_then(|workers| workers.max)),
            "spec.scheduling.priority" => (&mut changes.priority, priority),
            _ => {
                let refusal = format!(
                    "cannot be changed; of a job that goes on only {} can",
                    CHANGEABLE.join(", ")
                );
                return Err(invalid(path, refusal));
            }
        };
        *change = Some(value.ok_or_else(|| invalid(path, "expected a number, found none"))?);
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(paths: &[&str]) -> proto::UpdateJobRequest {
        let workers = proto::WorkersSpec {
            min: None,
            max: Some(4),
        };
        proto::UpdateJobRequest {
            name: "jobs/ants".to_owned(),
            job: Some(proto::FineTuneJob {
                spec: Some(proto::JobSpec {
                    resources: Some(proto::ResourcesSpec {
                        workers: Some(workers),
                        ..proto::ResourcesSpec::default()
                    }),
                    ..proto::JobSpec::default()
                }),
                ..proto::FineTuneJob::default()
            }),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(|path| (*path).to_owned()).collect(),
            }),
            request_id: String::new(),
        }
    }

    #[test]
    fn only_what_the_mask_names_is_changed() {
        let changes = job_changes(&request(&["spec.resources.workers.max"])).unwrap();
        let expected = JobChanges {
            workers_max: Some(4),
            ..JobChanges::default()
        };
        assert_eq!(changes, expected);
    }

    #[test]
    fn what_cannot_change_and_what_is_missing_is_refused_by_its_path() {
        for (paths, expected) in [
            (
                &["spec.training.epochs"][..],
                "spec.training.epochs: cannot be changed; of a job that goes on only spec.resources.workers.min, \
                 spec.resources.workers.max, spec.scheduling.priority can",
            ),
            (
                &["spec.resources.workers.min"],
                "spec.resources.workers.min: expected a number, found none",
            ),
            (
                &[],
                "update_mask: expected the fields that change (spec.resources.workers.min, spec.resources.workers.max, \
                 spec.scheduling.priority), found none",
            ),
        ] {
            assert_eq!(job_changes(&request(paths)).unwrap_err().message(), expected);
        }
    }
}
