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
        let with_unready = spec.publish_not_ready_addresses.unwrap_or(false);
        for pod in backends::of_service(known, &service, with_unready) {
            let address = pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.clone())
                .unwrap_or_default();
            let _ = writeln!(text, "{address} {}", names(&[&name, &namespace]));
            let spec = pod.spec.unwrap_or_default();
            if let (Some(hostname), Some(subdomain)) = (&spec.hostname, &spec.subdomain)
                && *subdomain == name
            {
                let _ = writeln!(text, "{address} {}", names(&[hostname, &name, &namespace]));
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
