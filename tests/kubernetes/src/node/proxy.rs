//! Every Service address is a loopback address: the proxy listens there, and passes connections on to pods that are ready.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::ResourceExt as _;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Node, backends};

/// A port of a Service.
#[derive(Debug, Clone, PartialEq)]
struct Front {
    namespace: String,
    service: String,
    port: ServicePort,
    address: SocketAddr,
}

/// Follows the Services as they come and go.
pub(super) async fn serve(node: Arc<Node>, api_server: SocketAddr) {
    let mut listeners: Vec<(Front, JoinHandle<()>)> = Vec::new();
    let mut changes = node.known.changes();
    loop {
        changes.borrow_and_update();
        let services = node.known.services.all();
        let wanted: Vec<Front> = services.iter().flat_map(fronts).collect();
        listeners.retain(|(front, listener)| {
            let stays = wanted.contains(front);
            if !stays {
                listener.abort();
            }
            stays
        });
        for front in wanted {
            if !listeners.iter().any(|(known, _)| *known == front) {
                let listener = tokio::spawn(listen(node.clone(), front.clone(), api_server));
                listeners.push((front, listener));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn fronts(service: &Service) -> Vec<Front> {
    let Some(spec) = &service.spec else { return Vec::new() };
    let Some(Ok(address)) = spec.cluster_ip.as_deref().map(str::parse) else {
        return Vec::new();
    };
    let ports = spec.ports.iter().flatten();
    let front = |port: &ServicePort| {
        Some(Front {
            namespace: service.namespace().unwrap_or_default(),
            service: service.name_any(),
            port: port.clone(),
            address: SocketAddr::new(address, u16::try_from(port.port).ok()?),
        })
    };
    ports.filter_map(front).collect()
}

async fn listen(node: Arc<Node>, front: Front, api_server: SocketAddr) {
    let listener = match TcpListener::bind(front.address).await {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!(
                "service {}/{} on {}: {error}",
                front.namespace, front.service, front.address
            );
            return;
        }
    };
    let turn = AtomicUsize::new(0);
    while let Ok((mut client, _)) = listener.accept().await {
        // The API server's own Service has no pods.
        let is_api = (front.namespace.as_str(), front.service.as_str()) == ("default", "kubernetes");
        let service = node.known.services.get(&front.namespace, &front.service);
        let ready = match service {
            _ if is_api => vec![api_server],
            Some(service) => backends::addresses(&node.known, &service, &front.port),
            None => Vec::new(),
        };
        if ready.is_empty() {
            // Refused, as where nobody listens.
            continue;
        }
        let backend = ready[turn.fetch_add(1, Ordering::Relaxed) % ready.len()];
        tokio::spawn(async move {
            if let Ok(mut server) = TcpStream::connect(backend).await {
                // Either may hang up.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
    }
}
