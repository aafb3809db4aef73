//! How the cache lies on disk, as `huggingface_hub` keeps it, so that both use one.
//!
//! ```text
//! models--org--name/
//!     blobs/ETAG                       what files hold, each once
//!     snapshots/COMMIT/FILE            a link to a blob: there is none before its blob is whole
//!     refs/REVISION                    the commit that a branch or tag was when it was last asked for
//!     .no_exist/COMMIT/FILE            the commit has no such file
//! .locks/models--org--name/ETAG.lock   held by the process that fetches the blob
//! ```

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt as _, symlink},
    path::{Path, PathBuf},
};

use firn_core::spec::hub::HubModel;
use tracing::info;

use crate::HubError;

/// The folder of a cache.
#[derive(Debug)]
pub(crate) struct Cache(pub(crate) PathBuf);

impl Cache {
    /// Where the files of a commit are.
    pub(crate) fn snapshot(&self, model: &HubModel) -> PathBuf {
        self.model(model).join("snapshots").join(&model.revision)
    }

    /// A file of a commit, if it is there, and then it is whole.
    pub(crate) fn file(&self, model: &HubModel, name: &str) -> Option<PathBuf> {
        Some(self.snapshot(model).join(name)).filter(|path| path.exists())
    }

    /// Names of the files of a commit that are there; `None`: nothing of it is.
    pub(crate) fn names(&self, model: &HubModel) -> Option<BTreeSet<String>> {
        let folder = self.snapshot(model);
        let mut names = BTreeSet::new();
        let mut waiting = vec![folder.clone()];
        while let Some(place) = waiting.pop() {
            for entry in fs::read_dir(&place).ok()?.flatten() {
                let path = entry.path();
                if path.is_dir() {
                    waiting.push(path);
                } else if path.exists()
                    && let Some(name) = path.strip_prefix(&folder).ok().and_then(Path::to_str)
                {
                    names.insert(name.to_owned());
                }
            }
        }
        Some(names)
    }

    /// The commit that a branch or tag was when it was last asked for.
    pub(crate) fn commit(&self, model: &HubModel) -> Option<String> {
        let commit = fs::read_to_string(self.reference(model)).ok()?;
        Some(commit.trim().to_owned())
    }

    /// Notes the commit that the model's branch or tag is now.
    pub(crate) fn note_commit(&self, model: &HubModel, commit: &str) -> Result<(), HubError> {
        let path = self.reference(model);
        if self.commit(model).as_deref() == Some(commit) {
            return Ok(());
        }
        make_folder_of(&path)?;
        // Of this process alone until it has its name, so nobody reads half of it.
        let partial = path.with_file_name(format!(".{}.{}", path_name(&path), std::process::id()));
        let written = fs::write(&partial, commit).and_then(|()| fs::rename(&partial, &path));
        written.map_err(HubError::cache(path))
    }

    /// Whether it is known that the commit has no such file.
    pub(crate) fn is_absent(&self, model: &HubModel, name: &str) -> bool {
        self.absent(model, name).exists()
    }

    /// Notes that. Nothing depends on it but one question to the Hub, so a cache that cannot be written is no failure.
    pub(crate) fn note_absent(&self, model: &HubModel, name: &str) {
        let path = self.absent(model, name);
        if make_folder_of(&path).is_ok() {
            _ = File::create(path);
        }
    }

    /// Where a blob is, or will be.
    pub(crate) fn blob(&self, model: &HubModel, etag: &str) -> PathBuf {
        self.model(model).join("blobs").join(etag)
    }

    /// Gives a whole blob the name of a file of a commit.
    pub(crate) fn link(&self, model: &HubModel, name: &str, etag: &str) -> Result<PathBuf, HubError> {
        let path = self.snapshot(model).join(name);
        make_folder_of(&path)?;
        let up = "../".repeat(2 + name.split('/').count() - 1);
        match symlink(format!("{up}blobs/{etag}"), &path) {
            // Somebody else was faster. A link to a blob that is gone leads to the one that was fetched now.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => {}
            linked => linked.map_err(HubError::cache(&path))?,
        }
        Ok(path)
    }

    /// The lock of a blob, once no other process has it. It is given back with the file, also by a process that is killed.
    pub(crate) fn lock(&self, model: &HubModel, etag: &str) -> Result<File, HubError> {
        let folder = self.0.join(".locks").join(folder_name(model));
        let path = folder.join(format!("{etag}.lock"));
        loop {
            make_folder_of(&path)?;
            let file = File::options().write(true).create(true).truncate(false).open(&path);
            let file = file.map_err(HubError::cache(&path))?;
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => {
                    info!(%etag, "another process fetches this file; waiting for it");
                    file.lock()
                }
                Err(TryLockError::Error(error)) => Err(error),
                Ok(()) => Ok(()),
            }
            .map_err(HubError::cache(&path))?;
            // The Hub's tools may remove the file when they are done: a lock of what has no name any more locks nothing.
            let held = file.metadata().map(|held| held.ino());
            if fs::metadata(&path).map(|named| named.ino()).ok() == held.ok() {
                return Ok(file);
            }
        }
    }

    fn model(&self, model: &HubModel) -> PathBuf {
        self.0.join(folder_name(model))
    }

    fn reference(&self, model: &HubModel) -> PathBuf {
        self.model(model).join("refs").join(&model.revision)
    }

    fn absent(&self, model: &HubModel, name: &str) -> PathBuf {
        self.model(model).join(".no_exist").join(&model.revision).join(name)
    }
}

fn folder_name(model: &HubModel) -> String {
    format!("models--{}", model.id.replace('/', "--"))
}

fn path_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The folder that is to hold the file.
pub(crate) fn make_folder_of(path: &Path) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(HubError::cache(folder))
}
