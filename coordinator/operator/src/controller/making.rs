//! What the operator makes and changes in the cluster: finalizers, the Job of the pods, the Secret of their identity.

use k8s_openapi::api::{batch::v1::Job, core::v1::Secret, networking::v1::NetworkPolicy};
use kube::{
    Api, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};

use super::FINALIZER;
use super::plan::Remote;
use super::reconcile::{FIELD_MANAGER, Operator, ReconcileError, owns};
use crate::resource::FineTuneJob;
use crate::workers::identity::{self, SharedFiles};
use crate::workers::{
    IDENTITY_ANNOTATION, RUN_ANNOTATION, SUSPENDED_ANNOTATION, TOKEN_ANNOTATION, network_policy, workers_job,
    workers_name,
};

impl Operator {
    pub(super) fn api(&self, resource: &FineTuneJob) -> Api<FineTuneJob> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    pub(super) fn jobs_api(&self, resource: &FineTuneJob) -> Api<Job> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    fn secrets_api(&self, resource: &FineTuneJob) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &resource.namespace().unwrap_or_default())
    }

    pub(super) async fn set_finalizer(&self, resource: &FineTuneJob, held: bool) -> Result<(), ReconcileError> {
        let mut finalizers = resource.finalizers().to_vec();
        finalizers.retain(|finalizer| finalizer != FINALIZER);
        if held {
            finalizers.push(FINALIZER.to_owned());
        }
        // With the version that was seen: somebody else's finalizer is not lost.
        let patch = json!({"metadata": {"resourceVersion": resource.resource_version(), "finalizers": finalizers}});
        let api = self.api(resource);
        let patched = api
            .patch(&resource.name_any(), &PatchParams::default(), &Patch::Merge(patch))
            .await;
        // If it went meanwhile, nobody holds it.
        if_there(patched)?;
        Ok(())
    }

    /// First the identity and the network, then the Job whose pods need them.
    pub(super) async fn create_workers(
        &self,
        resource: &FineTuneJob,
        remote: Option<&Remote>,
        files: &SharedFiles,
    ) -> Result<(), ReconcileError> {
        let (Some(remote), Ok(spec)) = (remote, resource.job()) else {
            return Ok(());
        };
        let (api, name) = (self.jobs_api(resource), workers_name(resource));
        // What is remembered of the cluster may be older than the cluster.
        if let Some(existing) = api.get_opt(&name).await? {
            return match owns(resource, &existing) {
                true => Ok(()),
                false => Err(ReconcileError::NameTaken { name }),
            };
        }
        let mut job = workers_job(resource, (&remote.id, &spec), &self.workers, files)?;
        let token = self
            .issue_identity(resource, &format!("jobs/{}", remote.id), files)
            .await?;
        let noted = [(RUN_ANNOTATION, remote.run.clone()), (TOKEN_ANNOTATION, token)];
        job.annotations_mut()
            .extend(noted.map(|(name, value)| (name.to_owned(), value)));
        if let Some(policy) = network_policy(resource, &self.workers) {
            let policies: Api<NetworkPolicy> =
                Api::namespaced(self.client.clone(), &policy.namespace().unwrap_or_default());
            let params = PatchParams::apply(FIELD_MANAGER).force();
            policies
                .patch(&policy.name_any(), &params, &Patch::Apply(&policy))
                .await?;
        }
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        api.create(&params, &job).await?;
        Ok(())
    }

    /// A Secret with a token of its own; returns the name of the token.
    async fn issue_identity(
        &self,
        resource: &FineTuneJob,
        job: &str,
        files: &SharedFiles,
    ) -> Result<String, ReconcileError> {
        let (token, secret) = self.coordinator.issue_token(job.to_owned()).await?;
        let secret = identity::secret(resource, &secret, files);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let api = self.secrets_api(resource);
        api.patch(&secret.name_any(), &params, &Patch::Apply(&secret)).await?;
        Ok(token)
    }

    /// The files of the Secret as the operator has them now; the token stays, unless the Secret is gone.
    pub(super) async fn refresh_identity(
        &self,
        resource: &FineTuneJob,
        job: &str,
        files: &SharedFiles,
    ) -> Result<(), ReconcileError> {
        let patch = Patch::Merge(json!({"data": files.data()}));
        let api = self.secrets_api(resource);
        let name = identity::secret_name(resource);
        let patched = api.patch(&name, &PatchParams::default(), &patch).await;
        let mut noted = json!({IDENTITY_ANNOTATION: files.digest()});
        if if_there(patched)?.is_none() {
            noted[TOKEN_ANNOTATION] = self.issue_identity(resource, job, files).await?.into();
        }
        self.patch_workers(resource, json!({"metadata": {"annotations": noted}}))
            .await
    }

    pub(super) async fn delete_workers(&self, resource: &FineTuneJob) -> Result<(), ReconcileError> {
        let api = self.jobs_api(resource);
        let deleted = api.delete(&workers_name(resource), &DeleteParams::background()).await;
        if_there(deleted)?;
        Ok(())
    }

    pub(super) async fn suspend_workers(&self, resource: &FineTuneJob, suspend: bool) -> Result<(), ReconcileError> {
        // Who holds it back is noted beside it, and goes with it.
        let noted = json!({SUSPENDED_ANNOTATION: suspend.then_some("true")});
        let patch = json!({"metadata": {"annotations": noted}, "spec": {"suspend": suspend}});
        self.patch_workers(resource, patch).await
    }

    pub(super) async fn scale_workers(&self, resource: &FineTuneJob, count: u32) -> Result<(), ReconcileError> {
        let spec = json!({"parallelism": count, "completions": count});
        self.patch_workers(resource, json!({"spec": spec})).await
    }

    async fn patch_workers(&self, resource: &FineTuneJob, patch: Value) -> Result<(), ReconcileError> {
        let api = self.jobs_api(resource);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(&workers_name(resource), &params, &Patch::Merge(patch))
            .await?;
        Ok(())
    }
}

/// What was answered about something; `None`: it is not there any more.
pub(super) fn if_there<T>(answer: Result<T, kube::Error>) -> Result<Option<T>, kube::Error> {
    match answer {
        Err(kube::Error::Api(answer)) if answer.code == 404 => Ok(None),
        answer => answer.map(Some),
    }
}
