//! Where a file lies that the coordinator does not keep: `file://host/path`.

use std::path::PathBuf;

/// The path in `file://host/path`, whatever the host: shared storage has the same path everywhere, and the digest tells
/// a mistake. `None`: the coordinator keeps the file.
pub(crate) fn local_path(location: &str) -> Option<PathBuf> {
    let rest = location.strip_prefix("file://")?;
    let path = rest.find('/').map_or("/", |slash| &rest[slash..]);
    Some(PathBuf::from(path))
}

/// Whether the file is meant to lie on this machine: then another content under the path is damage, not another
/// machine's file.
pub(crate) fn is_this_host(location: &str) -> bool {
    let host = location
        .strip_prefix("file://")
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default();
    let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    host.is_empty() || host == "localhost" || own.as_deref() == Some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_a_location_is_found_with_and_without_host() {
        assert_eq!(
            local_path("file://host-a/data/out/m.bin"),
            Some("/data/out/m.bin".into())
        );
        assert_eq!(local_path("file:///data/out/m.bin"), Some("/data/out/m.bin".into()));
        assert_eq!(local_path("coordinator"), None);
    }

    #[test]
    fn a_file_without_a_host_is_on_this_machine() {
        assert!(is_this_host("file:///data/m.bin"));
        assert!(is_this_host("file://localhost/data/m.bin"));
        assert!(!is_this_host("file://some-other-host.invalid/data/m.bin"));
    }
}
