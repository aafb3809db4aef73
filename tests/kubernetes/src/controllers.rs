//! The controller manager and the scheduler.

use std::path::Path;

use crate::{
    api_server::{ControlPlane, free_ports},
    process::Process,
    programs::Programs,
};

/// Seconds without a sign of life after which a node is not ready: a kubelet's own default is fifty.
const NODE_GRACE_SECONDS: u32 = 10;

/// Arguments of the API server that make these short: pods of a node that is not ready leave after so many seconds.
pub(crate) const SHORT_TOLERATIONS: [&str; 2] = [
    "--default-not-ready-toleration-seconds=2",
    "--default-unreachable-toleration-seconds=2",
];

/// Both, until they are dropped.
#[derive(Debug)]
pub(crate) struct Controllers {
    _manager: Process,
    _scheduler: Process,
}

impl Controllers {
    pub(crate) fn start(programs: &Programs, control: &ControlPlane) -> anyhow::Result<Self> {
        let [manager, scheduler] = free_ports()?;
        let folder = control.folder();
        let keys = control.keys();
        let mut arguments = common(&control.kubeconfig_of("kube-controller-manager")?, manager);
        arguments.extend([
            "--use-service-account-credentials=true".to_owned(),
            format!("--service-account-private-key-file={}", keys.accounts.display()),
            format!("--root-ca-file={}", keys.authority.display()),
            "--node-monitor-period=1s".to_owned(),
            format!("--node-monitor-grace-period={NODE_GRACE_SECONDS}s"),
        ]);
        let manager = Process::start(&programs.path("kube-controller-manager"), &arguments, folder)?;
        let arguments = common(&control.kubeconfig_of("kube-scheduler")?, scheduler);
        let scheduler = Process::start(&programs.path("kube-scheduler"), &arguments, folder)?;
        Ok(Self {
            _manager: manager,
            _scheduler: scheduler,
        })
    }
}

fn common(kubeconfig: &Path, port: u16) -> Vec<String> {
    let kubeconfig = kubeconfig.display();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        format!("--authentication-kubeconfig={kubeconfig}"),
        format!("--authorization-kubeconfig={kubeconfig}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        "--leader-elect=false".to_owned(),
    ]
}
