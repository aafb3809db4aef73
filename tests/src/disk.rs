//! A disk that is soon full.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::skip::skipped;

const BALLAST: &str = "ballast";

/// A small file system in memory (tmpfs). Dropping it unmounts it, with all that it holds.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one of `bytes` on a folder, which is created. None, and a line that says why, where this process may not mount.
    ///
    /// # Errors
    /// If the folder cannot be created.
    pub fn mount(folder: &Path, bytes: u64) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let options = format!("size={bytes},mode=0700");
        let mounted = mount(
            Some("firn-test"),
            folder,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        );
        Ok(match mounted {
            Ok(()) => Some(Self(folder.to_owned())),
            Err(error) => {
                skipped(&format!(
                    "no small disk can be mounted on {}: {error}",
                    folder.display()
                ));
                None
            }
        })
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Fills it, up to about `left` bytes.
    ///
    /// # Errors
    /// If writing fails with anything but a full disk.
    pub fn fill(&self, left: u64) -> anyhow::Result<()> {
        let path = self.0.join(BALLAST);
        let mut file = File::options().create(true).append(true).open(&path)?;
        let page = [0; 4096];
        loop {
            match file.write_all(&page) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error).context("cannot fill the small disk"),
            }
        }
        let size = file.metadata()?.len();
        file.set_len(size.saturating_sub(left))?;
        Ok(())
    }

    /// Takes away what [`SmallDisk::fill`] wrote.
    ///
    /// # Errors
    /// If that cannot be deleted.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.0.join(BALLAST))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Files that a process still holds open go with that process.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}
