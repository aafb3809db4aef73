//! The names of Services, which pods find in `/etc/hosts` instead of a name server.

use std::fmt::Write as _;

use kube::ResourceExt as _;

use super::{backends, known::Known};

/// The lines of one pod's file: itself, the Services, and the pods behind Services without an address.
pub(super) fn lines(known: &Known, (hostname, address): (&str, &str)) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost\n{address} {hostname}\n");
    for service in known.services.all() {
        let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
        let spec = service.spec.clone().unwrap_or_default();
        if let Some(address) = spec
            .cluster_ip
            .filter(|address| address != "None" && !address.is_empty())
        {
            let _ = writeln!(text, "{address} {}", names(&[&name, &namespace]));
            continue;
        }
        for endpoint in backends::slices(known, &service)
            .into_iter()
            .flat_map(|slice| slice.endpoints.unwrap_or_default())
        {
            let is_ready = endpoint
                .conditions
                .as_ref()
                .and_then(|conditions| conditions.ready)
                .unwrap_or(true);
            for address in endpoint.addresses.iter().filter(|_| is_ready) {
                let _ = writeln!(text, "{address} {}", names(&[&name, &namespace]));
                if let Some(host) = &endpoint.hostname {
                    let _ = writeln!(text, "{address} {}", names(&[host, &name, &namespace]));
                }
            }
        }
    }
    text
}

/// With every ending that a name server would add.
fn names(parts: &[&str]) -> String {
    let name = parts.join(".");
    let short = parts[..parts.len() - 1].join(".");
    format!("{name}.svc.cluster.local {name}.svc {name} {short}")
}
