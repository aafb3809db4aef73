//! Which pods a Service leads to. The control plane writes no list of them: it takes no loopback address for one of a pod.

use std::net::SocketAddr;

use k8s_openapi::{
    api::core::v1::{Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::ResourceExt as _;

use super::known::Known;

/// The pods that a Service selects and that have an address, ready ones or all; none that is to go.
pub(super) fn of_service(known: &Known, service: &Service, with_unready: bool) -> Vec<Pod> {
    let selector = service
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.clone())
        .unwrap_or_default();
    if selector.is_empty() {
        return Vec::new();
    }
    let is_selected = |pod: &Pod| {
        let has = |(label, value): (&String, &String)| pod.labels().get(label) == Some(value);
        pod.namespace() == service.namespace() && selector.iter().all(has)
    };
    let pods = known.pods.all().into_iter();
    pods.filter(|pod| is_selected(pod) && pod.metadata.deletion_timestamp.is_none() && serves(pod, with_unready))
        .collect()
}

fn serves(pod: &Pod, with_unready: bool) -> bool {
    let Some(status) = &pod.status else { return false };
    let mut conditions = status.conditions.iter().flatten();
    let is_ready = conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True");
    status.pod_ip.is_some() && (is_ready || with_unready)
}

/// Where the ready pods of a Service listen for one of its ports.
pub(super) fn addresses(known: &Known, service: &Service, port: &ServicePort) -> Vec<SocketAddr> {
    let pods = of_service(known, service, false).into_iter();
    let address = |pod: Pod| {
        let number = match port.target_port.clone().unwrap_or(IntOrString::Int(port.port)) {
            IntOrString::Int(number) => Some(number),
            IntOrString::String(name) => port_called(&pod, &name),
        };
        let address = pod.status?.pod_ip?.parse().ok()?;
        Some(SocketAddr::new(address, u16::try_from(number?).ok()?))
    };
    pods.filter_map(address).collect()
}

fn port_called(pod: &Pod, name: &str) -> Option<i32> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .find(|port| port.name.as_deref() == Some(name))
        .map(|port| port.container_port)
}
