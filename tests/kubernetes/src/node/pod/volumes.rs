//! The volumes of a pod, as folders of this machine that are mounted where its containers want them.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Volume};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{
    Life,
    files::{self, Tokens},
    quantity,
};

/// All volumes of a pod.
pub(super) struct Volumes {
    places: BTreeMap<String, Place>,
    tokens: Tokens,
}

/// Where a volume is.
struct Place {
    folder: PathBuf,
    /// Made of Secrets, ConfigMaps, tokens or fields: followed, and never written by a container.
    source: Option<Volume>,
}

impl Volumes {
    /// Makes them, or says what is missing.
    pub(super) async fn prepare(life: &Life) -> anyhow::Result<Self> {
        let mut volumes = Self {
            places: BTreeMap::new(),
            tokens: Tokens::default(),
        };
        for volume in life.spec.volumes.iter().flatten() {
            let place = volumes
                .make(life, volume)
                .await
                .with_context(|| format!("volume {:?}", volume.name))?;
            volumes.places.insert(volume.name.clone(), place);
        }
        Ok(volumes)
    }

    async fn make(&self, life: &Life, volume: &Volume) -> anyhow::Result<Place> {
        let folder = life.folder.join("volumes").join(&volume.name);
        let own = |folder| Ok(Place { folder, source: None });
        if let Some(source) = &volume.empty_dir {
            return own(empty(life, source, folder)?);
        }
        if let Some(source) = &volume.host_path {
            return own(of_host(source)?);
        }
        if let Some(source) = &volume.persistent_volume_claim {
            return own(of_claim(life, &source.claim_name)?);
        }
        let content = files::content(life, volume, &self.tokens).await?;
        files::write(&folder, &content, group(life))?;
        Ok(Place {
            folder,
            source: Some(volume.clone()),
        })
    }

    /// Writes anew what has changed in the cluster.
    pub(super) async fn refresh(&self, life: &Life) -> anyhow::Result<()> {
        for (name, place) in &self.places {
            if let Some(volume) = &place.source {
                let content = files::content(life, volume, &self.tokens).await;
                let content = content.with_context(|| format!("volume {name:?} stays as it was"))?;
                files::write(&place.folder, &content, group(life))?;
            }
        }
        Ok(())
    }

    /// Where a volume is, or a part of it, and whether no container may write there.
    pub(super) fn place(&self, name: &str, sub_path: &str) -> Result<(PathBuf, bool), String> {
        let place = self.places.get(name).ok_or_else(|| format!("no volume {name:?}"))?;
        let path = place.folder.join(sub_path);
        if !path.exists() {
            fs::create_dir_all(&path).map_err(|error| error.to_string())?;
        }
        Ok((path, place.source.is_some()))
    }
}

impl Life {
    /// Gives the memory of its volumes back.
    pub(super) fn unmount(&self) {
        for entry in fs::read_dir(self.folder.join("memory")).into_iter().flatten().flatten() {
            if let Err(error) = umount2(&entry.path(), MntFlags::MNT_DETACH) {
                eprintln!("{}: {error}", entry.path().display());
            }
        }
    }
}

fn group(life: &Life) -> Option<u32> {
    let group = life.spec.security_context.as_ref().and_then(|context| context.fs_group);
    group.and_then(|group| u32::try_from(group).ok())
}

fn empty(life: &Life, source: &EmptyDirVolumeSource, folder: PathBuf) -> anyhow::Result<PathBuf> {
    let folder = match source.medium.as_deref() {
        Some("Memory") => {
            let folder = life.folder.join("memory").join(folder.file_name().unwrap_or_default());
            if !folder.exists() {
                fs::create_dir_all(&folder)?;
                let size = source.size_limit.as_ref().and_then(quantity::value);
                let options = size.map(|bytes| format!("size={bytes}"));
                mount(
                    Some("tmpfs"),
                    &folder,
                    Some("tmpfs"),
                    MsFlags::empty(),
                    options.as_deref(),
                )?;
            }
            folder
        }
        _ => folder,
    };
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    give(&folder, group(life))?;
    Ok(folder)
}

fn of_host(source: &HostPathVolumeSource) -> anyhow::Result<PathBuf> {
    let path = PathBuf::from(&source.path);
    match source.type_.as_deref().unwrap_or_default() {
        "DirectoryOrCreate" => fs::create_dir_all(&path)?,
        "Directory" if !path.is_dir() => bail!("hostPath type check failed: {} is not a directory", path.display()),
        "File" if !path.is_file() => bail!("hostPath type check failed: {} is not a file", path.display()),
        _ => fs::metadata(&path)
            .map(drop)
            .with_context(|| path.display().to_string())?,
    }
    Ok(path)
}

fn of_claim(life: &Life, name: &str) -> anyhow::Result<PathBuf> {
    let known = &life.node.known;
    let claim = known.claims.get(&life.namespace(), name);
    let claim = claim.with_context(|| format!("persistentvolumeclaim {name:?} not found"))?;
    let bound = claim.spec.and_then(|spec| spec.volume_name);
    let bound = bound.with_context(|| format!("persistentvolumeclaim {name:?} is not bound"))?;
    let volume = known
        .volumes
        .get("", &bound)
        .with_context(|| format!("volume {bound} not found"))?;
    let spec = volume.spec.unwrap_or_default();
    let path = spec
        .host_path
        .map(|source| source.path)
        .or(spec.local.map(|source| source.path));
    let path = PathBuf::from(path.context("a test node knows only folders")?);
    fs::create_dir_all(&path)?;
    let read_only = spec.access_modes.unwrap_or_default() == ["ReadOnlyMany"];
    if !read_only {
        give(&path, group(life))?;
    }
    Ok(path)
}

/// Gives a folder, and all in it, to the group of a pod.
fn give(folder: &Path, group: Option<u32>) -> anyhow::Result<()> {
    let Some(group) = group else { return Ok(()) };
    if fs::metadata(folder)?.gid() == group {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            give(&entry.path(), Some(group))?;
        } else if entry.file_type()?.is_file() {
            chown(entry.path(), None, Some(group))?;
            let mode = entry.metadata()?.mode() | 0o660;
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode))?;
        }
    }
    chown(folder, None, Some(group))?;
    let mode = fs::metadata(folder)?.mode() | 0o2770;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
    Ok(())
}
