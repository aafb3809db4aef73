//! What `firn run` changes in the spec before it submits: the number of workers, and where the artifacts go.

use std::path::{Path, PathBuf};

use firn_proto::v1alpha1::FineTuneJob;

use super::shares::Demand;
use crate::{
    api::wire::path_of_uri,
    cmd::{download, error::CommandError},
};

/// Writes `--workers` and `--slots-per-worker` into the job, and says how many agents with how many slots it then
/// needs.
///
/// With `--workers N` a spec that allows N workers keeps its minimum (a smaller gang may go on when a worker is lost);
/// any other spec is set to exactly N.
pub(super) fn fit_workers(job: &mut FineTuneJob, workers: Option<u32>, slots_per_worker: Option<u32>) -> Demand {
    let resources = job.spec.get_or_insert_default().resources.get_or_insert_default();
    let range = resources.workers.get_or_insert_default();
    let wanted = workers.or(range.max).or(range.min).unwrap_or(1);
    if range.max.is_none_or(|max| max < wanted) {
        (range.min, range.max) = (Some(wanted), Some(wanted));
    } else {
        range.min = Some(range.min.unwrap_or(1).min(wanted));
    }
    if slots_per_worker.is_some() {
        resources.slots_per_worker = slots_per_worker;
    }
    Demand {
        workers: wanted,
        slots_per_worker: resources.slots_per_worker.unwrap_or(1),
    }
}

/// Decides the folder of the artifacts, absolute, and writes it into the job: `--artifacts`, else the spec's own, else
/// `./firn-artifacts/{name}`.
pub(super) fn place_artifacts(job: &mut FineTuneJob, flag: Option<&Path>) -> Result<PathBuf, CommandError> {
    let name = job
        .metadata
        .as_ref()
        .map(|metadata| metadata.name.as_str())
        .filter(|name| !name.is_empty())
        .unwrap_or("job");
    // A name is not validated yet; one that would lead elsewhere is refused by the coordinator, and must do nothing
    // before.
    let default = download::default_folder(&name.replace(['/', '\\'], "-"));
    let artifacts = job.spec.get_or_insert_default().artifacts.get_or_insert_default();
    let folder = match flag {
        Some(flag) => flag.to_owned(),
        // What is wrong with the spec's own is the coordinator's to say, at submit.
        None if !artifacts.uri.is_empty() => return Ok(path_of_uri(&artifacts.uri).map_or(default, PathBuf::from)),
        None => default,
    };
    let folder = std::path::absolute(&folder).map_err(CommandError::file("find", &folder))?;
    let text = folder.to_str().ok_or_else(|| {
        let shown = folder.display();
        CommandError::Usage(format!(
            "the folder of the artifacts must have a name in UTF-8, found {shown}"
        ))
    })?;
    artifacts.uri = text.to_owned();
    Ok(folder)
}

/// `auto`, `cpu` or `gpu`.
pub(super) fn device(job: &FineTuneJob) -> &str {
    let resources = job.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    resources
        .map(|resources| resources.device.as_str())
        .filter(|device| !device.is_empty())
        .unwrap_or("auto")
}

#[cfg(test)]
mod tests {
    use firn_proto::v1alpha1::{JobSpec, Metadata, ResourcesSpec, WorkersSpec};

    use super::*;

    fn job(min: Option<u32>, max: Option<u32>) -> FineTuneJob {
        let resources = ResourcesSpec {
            workers: Some(WorkersSpec { min, max }),
            ..Default::default()
        };
        FineTuneJob {
            metadata: Some(Metadata {
                name: "demo".into(),
                ..Default::default()
            }),
            spec: Some(JobSpec {
                resources: Some(resources),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_number_of_workers_is_the_flag_else_the_specs_most() {
        // (min, max, flag) -> (agents, min, max)
        let table = [
            ((None, None, Some(2)), (2, 2, 2)),
            ((Some(1), Some(1), Some(3)), (3, 3, 3)),
            ((Some(1), Some(4), Some(2)), (2, 1, 4)),
            ((Some(3), Some(4), Some(2)), (2, 2, 4)),
            ((Some(1), Some(2), None), (2, 1, 2)),
            ((Some(2), None, None), (2, 2, 2)),
            ((None, None, None), (1, 1, 1)),
        ];
        for ((min, max, flag), (agents, new_min, new_max)) in table {
            let mut job = job(min, max);
            let demand = fit_workers(&mut job, flag, None);
            assert_eq!(
                demand,
                Demand {
                    workers: agents,
                    slots_per_worker: 1
                },
                "{min:?} {max:?} {flag:?}"
            );
            let range = job.spec.unwrap().resources.unwrap().workers.unwrap();
            assert_eq!(
                (range.min, range.max),
                (Some(new_min), Some(new_max)),
                "{min:?} {max:?} {flag:?}"
            );
        }
    }

    #[test]
    fn slots_of_the_flag_win_over_the_spec() {
        let mut job = job(None, None);
        assert_eq!(fit_workers(&mut job, Some(1), Some(2)).slots_per_worker, 2);
        assert_eq!(
            fit_workers(&mut job, Some(1), None).slots_per_worker,
            2,
            "written into the job"
        );
    }

    #[test]
    fn artifacts_go_to_the_flag_else_the_spec_else_a_folder_named_like_the_job() {
        let mut from_flag = job(None, None);
        assert_eq!(
            place_artifacts(&mut from_flag, Some(Path::new("/out"))).unwrap(),
            Path::new("/out")
        );
        assert_eq!(from_flag.spec.unwrap().artifacts.unwrap().uri, "/out");

        let mut from_spec = job(None, None);
        from_spec.spec.as_mut().unwrap().artifacts.get_or_insert_default().uri = "file:///shared/my%20out".into();
        assert_eq!(
            place_artifacts(&mut from_spec, None).unwrap(),
            Path::new("/shared/my out")
        );

        let here = std::env::current_dir().unwrap();
        assert_eq!(
            place_artifacts(&mut job(None, None), None).unwrap(),
            here.join("firn-artifacts/demo")
        );
    }
}
