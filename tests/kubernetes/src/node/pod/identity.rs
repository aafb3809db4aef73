//! Who a container's program is, and what it may do.

use k8s_openapi::api::core::v1::{Container, PodSpec};

/// What a container runtime leaves to a program that is root.
const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// A program's user, groups and rights.
pub(super) struct Identity {
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) more_groups: Vec<u32>,
    pub(super) no_new_privileges: bool,
    pub(super) read_only_root: bool,
    /// With the kernel's names.
    pub(super) capabilities: Vec<String>,
}

impl Identity {
    /// As the pod and the container say; an image has a user of its own.
    ///
    /// # Errors
    /// If the container must not be root, and would be.
    pub(super) fn of(spec: &PodSpec, container: &Container, of_image: u32) -> Result<Self, String> {
        let pod = spec.security_context.clone().unwrap_or_default();
        let own = container.security_context.clone().unwrap_or_default();
        let number = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
        let user = number(own.run_as_user).or(number(pod.run_as_user)).unwrap_or(of_image);
        if user == 0 && own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false) {
            return Err("container has runAsNonRoot and image will run as root".to_owned());
        }
        let group = number(own.run_as_group).or(number(pod.run_as_group)).unwrap_or(0);
        let more_groups = pod.supplemental_groups.into_iter().flatten().chain(pod.fs_group);
        let is_privileged = own.privileged.unwrap_or(false);
        let asked = own.capabilities.unwrap_or_default();
        let dropped = asked.drop.unwrap_or_default();
        let drops = |name: &str| dropped.iter().any(|drop| drop == "ALL" || drop == name);
        let mut capabilities: Vec<String> = match is_privileged {
            true => caps::all()
                .into_iter()
                .map(|capability| capability.to_string())
                .collect(),
            false => DEFAULT_CAPABILITIES
                .iter()
                .filter(|name| !drops(name))
                .map(|name| format!("CAP_{name}"))
                .collect(),
        };
        capabilities.extend(asked.add.into_iter().flatten().map(|name| format!("CAP_{name}")));
        Ok(Self {
            user,
            group,
            more_groups: more_groups.filter_map(|id| u32::try_from(id).ok()).collect(),
            no_new_privileges: own.allow_privilege_escalation == Some(false),
            read_only_root: own.read_only_root_filesystem.unwrap_or(false),
            capabilities,
        })
    }
}
