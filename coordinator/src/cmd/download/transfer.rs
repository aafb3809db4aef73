//! One file: from the coordinator or from a folder this machine can read, through a temporary name, verified.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
};

use firn_proto::v1alpha1::{Artifact, DownloadArtifactRequest};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tonic::Request;

use super::Place;
use crate::{
    cmd::{
        connection::{Connection, resource_name},
        error::CommandError,
    },
    location::{is_this_host, local_path},
};

/// Brings `artifact` into `folder`, unless it is there already.
pub(super) async fn fetch(
    connection: &Connection,
    job: &str,
    artifact: &Artifact,
    folder: &Path,
) -> Result<Place, CommandError> {
    let target = folder.join(safe_name(&artifact.name)?);
    if digest_of(&target).is_ok_and(|found| found == announced(artifact)) {
        return Ok(Place::Here(absolute(&target)?));
    }
    let source = match local_path(&artifact.location) {
        Some(path) if File::open(&path).is_ok() => Some(path),
        Some(_) => return Ok(Place::Elsewhere(artifact.location.clone())),
        None => None,
    };
    let parent = target.parent().unwrap_or(folder);
    fs::create_dir_all(parent).map_err(CommandError::file("create", parent))?;
    let mut file = NamedTempFile::new_in(parent).map_err(CommandError::file("create a file in", parent))?;
    let found = match &source {
        Some(path) => copy(path, file.as_file_mut())?,
        None => download(connection, job, artifact, file.as_file_mut()).await?,
    };
    let expected = announced(artifact);
    if found != expected {
        if source.is_some() && !is_this_host(&artifact.location) {
            return Ok(Place::Elsewhere(artifact.location.clone()));
        }
        return Err(CommandError::Damaged {
            name: artifact.name.clone(),
            expected: expected.to_string(),
            found: found.to_string(),
        });
    }
    make_readable(file.as_file()).map_err(CommandError::file("set the permissions of", &target))?;
    file.as_file()
        .sync_all()
        .map_err(CommandError::file("write", &target))?;
    file.persist(&target)
        .map_err(|error| CommandError::file("write", &target)(error.error))?;
    Ok(Place::Here(absolute(&target)?))
}

/// Size and digest of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fingerprint {
    bytes: u64,
    sha256: String,
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} bytes with SHA-256 {}", self.bytes, self.sha256)
    }
}

fn announced(artifact: &Artifact) -> Fingerprint {
    Fingerprint {
        bytes: artifact.size_bytes,
        sha256: artifact.sha256.to_ascii_lowercase(),
    }
}

async fn download(
    connection: &Connection,
    job: &str,
    artifact: &Artifact,
    file: &mut File,
) -> Result<Fingerprint, CommandError> {
    let request = DownloadArtifactRequest {
        name: resource_name(job),
        artifact: artifact.name.clone(),
    };
    let refused = |status| connection.refusal(&status);
    let mut jobs = connection.jobs();
    let opened = connection.opened(jobs.download_artifact(Request::new(request)));
    let mut stream = opened.await.map_err(refused)?;
    let mut written = Hashing::new(file);
    while let Some(chunk) = connection.next_of(&mut stream).await.map_err(refused)? {
        written
            .write_all(&chunk.data)
            .map_err(CommandError::file("write", &artifact.name))?;
    }
    Ok(written.fingerprint())
}

fn copy(source: &Path, file: &mut File) -> Result<Fingerprint, CommandError> {
    let mut from = File::open(source).map_err(CommandError::file("read", source))?;
    let mut written = Hashing::new(file);
    io::copy(&mut from, &mut written).map_err(CommandError::file("copy", source))?;
    Ok(written.fingerprint())
}

fn digest_of(path: &Path) -> io::Result<Fingerprint> {
    let mut file = File::open(path)?;
    let mut hashing = Hashing::new(io::sink());
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hashing.fingerprint()),
            read => hashing.write_all(&buffer[..read])?,
        }
    }
}

/// Hashes what passes through to `to`.
struct Hashing<W> {
    to: W,
    sha256: Sha256,
    bytes: u64,
}

impl<W: io::Write> Hashing<W> {
    fn new(to: W) -> Self {
        Self {
            to,
            sha256: Sha256::new(),
            bytes: 0,
        }
    }

    fn fingerprint(self) -> Fingerprint {
        Fingerprint {
            bytes: self.bytes,
            sha256: hex::encode(self.sha256.finalize()),
        }
    }
}

impl<W: io::Write> io::Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buffer)?;
        self.sha256.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A name from the coordinator as a path below the folder; anything that leads out of it is refused.
fn safe_name(name: &str) -> Result<PathBuf, CommandError> {
    let path = Path::new(name);
    let inside = !name.is_empty()
        && path
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
    if inside {
        Ok(path.to_owned())
    } else {
        Err(CommandError::Local(format!(
            "refusing an artifact whose name is no plain file name: `{name}`"
        )))
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CommandError> {
    std::path::absolute(path).map_err(CommandError::file("find", path))
}

/// Temporary files are private; artifacts are not.
fn make_readable(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_folder_are_refused() {
        for name in ["", "../x", "/etc/passwd", "a/../../b", "."] {
            assert!(safe_name(name).is_err(), "{name}");
        }
        assert_eq!(safe_name("metrics.json").unwrap(), Path::new("metrics.json"));
        assert_eq!(safe_name("model/config.json").unwrap(), Path::new("model/config.json"));
    }
}
