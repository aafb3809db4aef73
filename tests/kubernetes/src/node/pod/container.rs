//! The life of one container: its image is pulled, its settings are found, it runs, and it runs again as the pod's policy says.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, ContainerState, ContainerStatus};
use kube::{ResourceExt as _, runtime::events::EventType};
use tokio::time::sleep;

use super::{BETWEEN_LOOKS, Ground, Life, environment, identity::Identity, run::not_started, status};
use crate::node::{
    confinement::{Confinement, Mount},
    images::{self, Image},
};

/// Before the second start; a kubelet waits ten times as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Before any start.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// One container of a pod.
pub(super) struct ContainerLife {
    pub(super) life: Arc<Life>,
    ground: Ground,
    pub(super) container: Container,
    is_init: bool,
    index: usize,
}

impl ContainerLife {
    pub(super) fn new(life: Arc<Life>, ground: Ground, container: Container, (is_init, index): (bool, usize)) -> Self {
        Self {
            life,
            ground,
            container,
            is_init,
            index,
        }
    }

    /// Until it has ended for good; returns the status of the last run, if there was one.
    pub(super) async fn run(self) -> Option<i32> {
        let mut code = None;
        let mut wait = FIRST_WAIT;
        for attempt in 0.. {
            let Some(confinement) = self.life.until_stopped(self.prepare(attempt)).await else {
                break;
            };
            let end = match self.once(&confinement, attempt).await {
                Ok(end) => end,
                Err(error) => not_started(&format!("{error:#}")),
            };
            code = Some(end.exit_code);
            let is_over = self.life.stop.borrow().is_some() || !self.is_restarted(end.exit_code);
            let message = format!(
                "back-off {}s restarting failed container={}",
                wait.as_secs(),
                self.container.name
            );
            let state = ContainerState {
                terminated: Some(end),
                ..ContainerState::default()
            };
            self.set(|status| {
                status.ready = false;
                status.started = Some(false);
                status.state = Some(state.clone());
                if !is_over {
                    status.last_state = Some(state.clone());
                    status.state = Some(status::waiting("CrashLoopBackOff", Some(message.clone())));
                }
            });
            if is_over {
                break;
            }
            self.life.tell(EventType::Warning, "BackOff", &message).await;
            if self.life.until_stopped(sleep(wait)).await.is_none() {
                self.set(|status| status.state = Some(state.clone()));
                break;
            }
            self.set(|status| status.restart_count += 1);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        code
    }

    fn is_restarted(&self, code: i32) -> bool {
        match self.life.spec.restart_policy.as_deref() {
            Some("Never") => false,
            Some("OnFailure") => code != 0,
            _ => !self.is_init || code != 0,
        }
    }

    /// Changes what is told of it.
    pub(super) fn set(&self, change: impl Fn(&mut ContainerStatus)) {
        self.life.states.send_modify(|states| {
            let statuses = if self.is_init {
                &mut states.init
            } else {
                &mut states.main
            };
            change(&mut statuses[self.index]);
        });
    }

    fn wait_for(&self, reason: &str, message: String) {
        self.set(|status| status.state = Some(status::waiting(reason, Some(message.clone()))));
    }

    /// Waits until everything is there that the container needs.
    async fn prepare(&self, attempt: u32) -> Confinement {
        let image = self.image().await;
        let mut changes = self.life.node.known.changes();
        let mut told = None;
        loop {
            changes.borrow_and_update();
            match self.confinement(&image, attempt) {
                Ok(confinement) => return confinement,
                Err(message) => {
                    self.wait_for("CreateContainerConfigError", message.clone());
                    if told.as_ref() != Some(&message) {
                        self.life
                            .tell(EventType::Warning, "Failed", &format!("Error: {message}"))
                            .await;
                        told = Some(message);
                    }
                }
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = sleep(BETWEEN_LOOKS) => {}
            }
        }
    }

    async fn image(&self) -> Image {
        let name = self.container.image.clone().unwrap_or_default();
        let mut wait = FIRST_WAIT;
        loop {
            let error = match images::pull(&self.life.node.settings.images, &name) {
                Ok(image) => return image,
                Err(error) => error,
            };
            if self.container.image_pull_policy.as_deref() == Some("Never") {
                let message = format!("Container image {name:?} is not present with pull policy of Never");
                self.wait_for("ErrImageNeverPull", message);
            } else {
                let message = format!("failed to pull image {name:?}: {error}");
                self.wait_for("ErrImagePull", message.clone());
                self.life.tell(EventType::Warning, "Failed", &message).await;
                sleep(FIRST_WAIT).await;
                let message = format!("Back-off pulling image {name:?}: ErrImagePull: {message}");
                self.wait_for("ImagePullBackOff", message.clone());
                self.life.tell(EventType::Normal, "BackOff", &message).await;
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// What the container is, or what is missing.
    fn confinement(&self, image: &Image, attempt: u32) -> Result<Confinement, String> {
        let life = &self.life;
        let environment = environment::of_container(life, &self.container, image)?;
        let identity = Identity::of(&life.spec, &self.container, image.user)?;
        let word = |word: &String| environment::expand(word, &environment);
        let own: Vec<String> = self.container.command.iter().flatten().map(word).collect();
        let program = if own.is_empty() { image.entrypoint.clone() } else { own };
        let arguments = self.container.args.iter().flatten().map(word);
        let layer = life
            .node
            .settings
            .folder
            .join("layers")
            .join(life.pod.uid().unwrap_or_default());
        Ok(Confinement {
            network: self.ground.network,
            image: image.root.clone(),
            layer: layer.join(format!("{}-{attempt}", self.container.name)),
            failure: self.file("failure").map_err(|error| error.to_string())?,
            hostname: life.hostname(),
            mounts: self.mounts(image, &environment)?,
            read_only_root: identity.read_only_root,
            user: identity.user,
            group: identity.group,
            more_groups: identity.more_groups,
            no_new_privileges: identity.no_new_privileges,
            capabilities: identity.capabilities,
            working_folder: self
                .container
                .working_dir
                .clone()
                .unwrap_or_else(|| "/".to_owned())
                .into(),
            command: program.into_iter().chain(arguments).collect(),
            environment,
        })
    }

    fn mounts(&self, image: &Image, environment: &BTreeMap<String, String>) -> Result<Vec<Mount>, String> {
        let mount = |from: PathBuf, to: PathBuf, read_only| Mount { from, to, read_only };
        let text = |error: std::io::Error| error.to_string();
        let mut mounts: Vec<Mount> = image
            .shared
            .iter()
            .map(|path| mount(path.clone(), path.clone(), true))
            .collect();
        mounts.push(mount(
            self.life.write_hosts().map_err(text)?,
            "/etc/hosts".into(),
            false,
        ));
        let message = self
            .container
            .termination_message_path
            .as_deref()
            .unwrap_or("/dev/termination-log");
        mounts.push(mount(self.file("message").map_err(text)?, message.into(), false));
        let mut own = Vec::new();
        for wanted in self.container.volume_mounts.iter().flatten() {
            let sub_path = match &wanted.sub_path_expr {
                Some(expression) => environment::expand(expression, environment),
                None => wanted.sub_path.clone().unwrap_or_default(),
            };
            let (from, is_fixed) = self.ground.volumes.place(&wanted.name, &sub_path)?;
            own.push(mount(
                from,
                wanted.mount_path.clone().into(),
                is_fixed || wanted.read_only.unwrap_or(false),
            ));
        }
        // What is mounted later hides what it is mounted on.
        own.sort_by_key(|mount| mount.to.components().count());
        mounts.extend(own);
        Ok(mounts)
    }

    /// A new empty file that belongs to this container, and that it may write.
    fn file(&self, name: &str) -> std::io::Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = self.life.folder.join("containers").join(&self.container.name);
        fs::create_dir_all(&folder)?;
        let path = folder.join(name);
        fs::write(&path, "")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(path)
    }
}
