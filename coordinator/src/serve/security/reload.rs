//! What is read from files, and again when they change.
//!
//! Their content is looked at, not their times: where a folder is swapped as a whole, as Kubernetes swaps that of a Secret, times need not change
//! with the content. What cannot be read or used, because it is half written or wrong, is told once, and what was read before goes on.

use std::{fs, path::PathBuf, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::{info, warn};

use super::SecurityError;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

type Read<T> = Box<dyn Fn() -> Result<T, SecurityError> + Send + Sync>;

/// Something that files hold.
pub(super) struct Watched<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    read: Read<T>,
    current: watch::Sender<T>,
    /// Of what was read first.
    first: blake3::Hash,
}

impl<T> Watched<T> {
    /// Reads it for the first time.
    pub(super) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        read: impl Fn() -> Result<T, SecurityError> + Send + Sync + 'static,
    ) -> Result<Self, SecurityError> {
        let first = digest(&paths);
        let (current, _) = watch::channel(read()?);
        Ok(Self {
            what,
            paths,
            read: Box::new(read),
            current,
            first,
        })
    }

    /// As it is now, and from now on.
    pub(super) fn current(&self) -> watch::Receiver<T> {
        self.current.subscribe()
    }

    /// Looks once; `seen` is the digest of what was looked at last.
    fn look(&self, seen: &mut blake3::Hash) {
        let found = digest(&self.paths);
        if found == *seen {
            return;
        }
        *seen = found;
        let files = self
            .paths
            .iter()
            .map(|path| path.display().to_string())
            .collect::<Vec<_>>()
            .join(", ");
        match (self.read)() {
            Ok(read) => {
                info!(files, "{} have changed and are read again", self.what);
                self.current.send_replace(read);
            }
            Err(error) => {
                warn!(files, %error, "{} have changed and cannot be used: those from before go on", self.what);
            }
        }
    }
}

/// Looks for ever.
pub(super) async fn follow<T>(watched: Option<&Watched<T>>) {
    let Some(watched) = watched else {
        return std::future::pending().await;
    };
    let mut seen = watched.first;
    loop {
        watched.look(&mut seen);
        sleep(INTERVAL).await;
    }
}

/// Of what all files hold; one that cannot be read is unlike every content.
fn digest(paths: &[PathBuf]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for path in paths {
        match fs::read(path) {
            Ok(content) => hasher.update(b"read").update(blake3::hash(&content).as_bytes()),
            Err(error) => hasher.update(b"not read").update(error.to_string().as_bytes()),
        };
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_read_and_one_that_cannot_be_used_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("number");
        fs::write(&path, "1").unwrap();
        let named = path.clone();
        let read = move || {
            let unusable = |found: &str| SecurityError::Token {
                path: named.clone(),
                found: found.to_owned(),
            };
            let text = fs::read_to_string(&named).map_err(|_| unusable("nothing"))?;
            text.parse::<u32>().map_err(|_| unusable(&text))
        };
        let watched = Watched::new("numbers", vec![path.clone()], read).unwrap();
        let current = watched.current();
        let mut seen = watched.first;
        let mut after = |content: Option<&str>| {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            watched.look(&mut seen);
            *current.borrow()
        };
        assert_eq!(after(Some("2")), 2);
        assert_eq!(after(Some("half")), 2);
        assert_eq!(after(Some("3")), 3);
        assert_eq!(after(None), 3);
        assert_eq!(after(Some("4")), 4);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_elsewhere_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other, link) = (
            folder.path().join("a"),
            folder.path().join("b"),
            folder.path().join("link"),
        );
        fs::write(&one, "1").unwrap();
        fs::write(&other, "2").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let before = digest(std::slice::from_ref(&link));
        let swapped = folder.path().join("swapped");
        std::os::unix::fs::symlink(&other, &swapped).unwrap();
        fs::rename(&swapped, &link).unwrap();
        assert_ne!(digest(&[link]), before);
    }
}
