//! Which pods a Service leads to, as the control plane lists them.

use std::net::SocketAddr;

use k8s_openapi::api::{
    core::v1::{Service, ServicePort},
    discovery::v1::EndpointSlice,
};
use kube::ResourceExt as _;

use super::known::Known;

/// The lists of a Service.
pub(super) fn slices(known: &Known, service: &Service) -> Vec<EndpointSlice> {
    let (namespace, name) = (service.namespace(), service.name_any());
    let is_own = |slice: &EndpointSlice| {
        slice.namespace() == namespace && slice.labels().get("kubernetes.io/service-name") == Some(&name)
    };
    known.slices.all().into_iter().filter(is_own).collect()
}

/// Where the ready pods of a Service listen for one of its ports.
pub(super) fn addresses(known: &Known, service: &Service, port: &ServicePort) -> Vec<SocketAddr> {
    let mut found = Vec::new();
    for slice in slices(known, service) {
        let ports = slice.ports.iter().flatten();
        let mut same = ports
            .filter(|listed| listed.name.as_deref().unwrap_or_default() == port.name.as_deref().unwrap_or_default());
        let Some(number) = same.find_map(|listed| u16::try_from(listed.port?).ok()) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let is_ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
            if is_ready.unwrap_or(true) {
                let addresses = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
                found.extend(addresses.map(|address| SocketAddr::new(address, number)));
            }
        }
    }
    found
}
