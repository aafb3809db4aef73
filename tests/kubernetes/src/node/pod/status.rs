//! What the control plane is told of a pod: the states of its containers, and the phase and the conditions that follow from them.

use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus, HostIP, PodCondition, PodIP,
        PodSpec, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};

use super::Life;

/// Address of every node.
const HOST: &str = "127.0.0.1";

/// Where a pod and its containers stand.
#[derive(Debug, Clone)]
pub(super) struct States {
    pub(super) init: Vec<ContainerStatus>,
    pub(super) main: Vec<ContainerStatus>,
    /// All volumes are there.
    pub(super) has_volumes: bool,
    /// All init containers have succeeded.
    pub(super) is_initialized: bool,
    /// No container runs, and none will.
    pub(super) is_terminal: bool,
    began: Time,
}

/// This moment.
pub(super) fn now() -> Time {
    Time(Timestamp::now())
}

impl States {
    pub(super) fn new(spec: &PodSpec) -> Self {
        let init = spec.init_containers.clone().unwrap_or_default();
        let reason = if init.is_empty() {
            "ContainerCreating"
        } else {
            "PodInitializing"
        };
        let status = |container: &k8s_openapi::api::core::v1::Container| ContainerStatus {
            name: container.name.clone(),
            image: container.image.clone().unwrap_or_default(),
            started: Some(false),
            state: Some(waiting(reason, None)),
            ..ContainerStatus::default()
        };
        Self {
            init: init.iter().map(status).collect(),
            main: spec.containers.iter().map(status).collect(),
            has_volumes: false,
            is_initialized: init.is_empty(),
            is_terminal: false,
            began: now(),
        }
    }
}

/// The state of a container that does not run.
pub(super) fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message,
        }),
        ..ContainerState::default()
    }
}

/// The status, with the times of the one before where a condition has not changed.
pub(super) fn of_pod(life: &Life, states: &States, before: Option<&PodStatus>) -> PodStatus {
    let mut states = states.clone();
    let never = life.spec.restart_policy.as_deref() == Some("Never");
    let phase = phase(&states, life.spec.restart_policy.as_deref().unwrap_or("Always"), never);
    if states.is_terminal {
        fill_in(&mut states);
    }
    let before = before.or(life.pod.status.as_ref());
    let address = life.address.to_string();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(life, &states, (phase, before))),
        host_ip: Some(HOST.to_owned()),
        host_ips: Some(vec![HostIP { ip: HOST.to_owned() }]),
        pod_ip: Some(address.clone()),
        pod_ips: Some(vec![PodIP { ip: address }]),
        start_time: Some(states.began.clone()),
        observed_generation: life.pod.metadata.generation,
        init_container_statuses: (!states.init.is_empty()).then_some(states.init),
        container_statuses: Some(states.main),
        ..PodStatus::default()
    }
}

fn ended(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

fn has_run(status: &ContainerStatus) -> bool {
    let last = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    ended(status).is_some() || last.is_some()
}

fn phase(states: &States, policy: &str, never: bool) -> &'static str {
    let failed = |status: &ContainerStatus| ended(status).is_some_and(|end| end.exit_code != 0);
    if never && states.init.iter().any(failed) {
        return "Failed";
    }
    if states.is_terminal {
        let succeeded = states.is_initialized
            && states
                .main
                .iter()
                .all(|status| ended(status).is_some() && !failed(status));
        return if succeeded { "Succeeded" } else { "Failed" };
    }
    let runs = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    if !states.is_initialized || states.main.iter().any(|status| !runs(status) && !has_run(status)) {
        return "Pending";
    }
    let all_ended = states.main.iter().all(|status| ended(status).is_some());
    match all_ended && policy != "Always" {
        true if !states.main.iter().any(failed) => "Succeeded",
        true if never => "Failed",
        _ => "Running",
    }
}

/// What never came to an end of its own counts as failed.
fn fill_in(states: &mut States) {
    if !states.is_initialized {
        return;
    }
    for status in &mut states.main {
        if ended(status).is_none() {
            status.ready = false;
            status.started = Some(false);
            status.state = Some(ContainerState {
                terminated: Some(ContainerStateTerminated {
                    exit_code: 137,
                    reason: Some("ContainerStatusUnknown".to_owned()),
                    message: Some("The container could not be located when the pod was terminated".to_owned()),
                    ..ContainerStateTerminated::default()
                }),
                ..ContainerState::default()
            });
        }
    }
}

fn conditions(life: &Life, states: &States, (phase, before): (&str, Option<&PodStatus>)) -> Vec<PodCondition> {
    let is_over = ["Succeeded", "Failed"].contains(&phase);
    let names = |statuses: &[ContainerStatus]| {
        let unready: Vec<&str> = statuses
            .iter()
            .filter(|status| !status.ready)
            .map(|status| status.name.as_str())
            .collect();
        format!("[{}]", unready.join(" "))
    };
    let ready = states.is_initialized && !is_over && states.main.iter().all(|status| status.ready);
    let (reason, message) = match phase {
        _ if ready => (None, None),
        "Succeeded" => (Some("PodCompleted"), None),
        "Failed" => (Some("PodFailed"), None),
        _ => (
            Some("ContainersNotReady"),
            Some(format!("containers with unready status: {}", names(&states.main))),
        ),
    };
    let incomplete = || Some(format!("containers with incomplete status: {}", names(&states.init)));
    let initialized = match (states.is_initialized, phase) {
        (true, "Succeeded") => (true, Some("PodCompleted"), None),
        (true, _) => (true, None, None),
        (false, _) => (false, Some("ContainersNotInitialized"), incomplete()),
    };
    let all = [
        (
            "PodReadyToStartContainers",
            (states.has_volumes && !is_over, None, None),
        ),
        ("Initialized", initialized),
        ("ContainersReady", (ready, reason, message.clone())),
        ("Ready", (ready, reason, message)),
    ];
    all.into_iter()
        .map(|(type_, told)| condition(life, (type_, told), before))
        .collect()
}

type Told<'a> = (bool, Option<&'a str>, Option<String>);

fn condition(
    life: &Life,
    (type_, (holds, reason, message)): (&str, Told<'_>),
    before: Option<&PodStatus>,
) -> PodCondition {
    let status = if holds { "True" } else { "False" };
    let known = before.into_iter().flat_map(|before| before.conditions.iter().flatten());
    let mut same = known.filter(|known| known.type_ == type_ && known.status == status);
    PodCondition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.map(str::to_owned),
        message,
        last_transition_time: same
            .next()
            .and_then(|known| known.last_transition_time.clone())
            .or_else(|| Some(now())),
        observed_generation: life.pod.metadata.generation,
        ..PodCondition::default()
    }
}
