//! Telling people and programs that the coordinator serves.

use std::{io::Write as _, net::SocketAddr, path::Path};

use tracing::info;

use super::{ServeError, settings::ServeSettings};

/// Writes one line to standard error, and the address to the ready file: whole, so that who waits for the file can read it at once.
pub(super) fn announce(
    address: SocketAddr,
    health: Option<SocketAddr>,
    settings: &ServeSettings,
) -> Result<(), ServeError> {
    if let Some(path) = &settings.ready_file {
        write(path, address).map_err(|source| ServeError::Ready {
            path: path.clone(),
            source,
        })?;
    }
    let scheme = if settings.security.tls().is_some() {
        "https"
    } else {
        "http"
    };
    info!(data = %settings.data_dir.display(), "ready: listening on {scheme}://{address}");
    if let Some(health) = health {
        info!("probes and Prometheus are answered on http://{health}");
    }
    Ok(())
}

fn write(path: &Path, address: SocketAddr) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{address}")?;
    file.persist(path)?;
    Ok(())
}
