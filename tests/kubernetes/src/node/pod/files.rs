//! Volumes that are made of what the cluster holds: Secrets, ConfigMaps, tokens of service accounts, fields of the pod.
//!
//! All files of a volume change at once: they lie in a folder of their own, and a link leads there.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{
        DownwardAPIVolumeFile, KeyToPath, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeProjection,
    },
};
use kube::{Api, ResourceExt as _, api::PostParams};

use super::{Life, environment};

/// Of files, where a volume says nothing.
const MODE: i32 = 0o644;

/// Files by their paths, with their modes.
pub(super) type Content = BTreeMap<String, (Vec<u8>, u32)>;

/// Tokens that are not old yet, by their paths.
#[derive(Default)]
pub(super) struct Tokens(Mutex<BTreeMap<String, (String, Instant)>>);

/// A Secret or a ConfigMap, as a volume names it.
struct Named<'a> {
    kind: &'static str,
    name: &'a str,
    items: Option<&'a Vec<KeyToPath>>,
    is_optional: bool,
    mode: i32,
}

impl<'a> Named<'a> {
    fn secret(name: &'a str, (items, optional): Picked<'a>, mode: Option<i32>) -> Self {
        Self {
            kind: "secret",
            name,
            items,
            is_optional: optional.unwrap_or(false),
            mode: mode.unwrap_or(MODE),
        }
    }

    fn settings(name: &'a str, picked: Picked<'a>, mode: Option<i32>) -> Self {
        Self {
            kind: "configmap",
            ..Self::secret(name, picked, mode)
        }
    }
}

/// The keys that are wanted, all if none are named, and whether they need not be there.
type Picked<'a> = (Option<&'a Vec<KeyToPath>>, Option<bool>);

/// What a volume holds now, or what is missing.
pub(super) async fn content(life: &Life, volume: &Volume, tokens: &Tokens) -> anyhow::Result<Content> {
    if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let wanted = Named::secret(name, (source.items.as_ref(), source.optional), source.default_mode);
        return named(life, &wanted);
    }
    if let Some(source) = &volume.config_map {
        let wanted = Named::settings(
            &source.name,
            (source.items.as_ref(), source.optional),
            source.default_mode,
        );
        return named(life, &wanted);
    }
    if let Some(source) = &volume.downward_api {
        let items = source.items.as_deref().unwrap_or_default();
        return fields(life, items, source.default_mode.unwrap_or(MODE));
    }
    let source = volume.projected.as_ref().context("a test node knows no such volume")?;
    let mut all = Content::new();
    for part in source.sources.iter().flatten() {
        all.extend(projection(life, part, (source.default_mode, tokens)).await?);
    }
    Ok(all)
}

async fn projection(
    life: &Life,
    part: &VolumeProjection,
    (mode, tokens): (Option<i32>, &Tokens),
) -> anyhow::Result<Content> {
    if let Some(source) = &part.secret {
        return named(
            life,
            &Named::secret(&source.name, (source.items.as_ref(), source.optional), mode),
        );
    }
    if let Some(source) = &part.config_map {
        return named(
            life,
            &Named::settings(&source.name, (source.items.as_ref(), source.optional), mode),
        );
    }
    if let Some(source) = &part.downward_api {
        return fields(life, source.items.as_deref().unwrap_or_default(), mode.unwrap_or(MODE));
    }
    let source = part
        .service_account_token
        .as_ref()
        .context("a test node knows no such projection")?;
    let token = tokens.get(life, source).await?;
    // Only the pod's own group reads it, where there is one.
    let has_group = life
        .spec
        .security_context
        .as_ref()
        .is_some_and(|context| context.fs_group.is_some());
    let mode = if has_group { 0o640 } else { 0o644 };
    Ok(Content::from([(source.path.clone(), (token.into_bytes(), mode))]))
}

fn named(life: &Life, wanted: &Named<'_>) -> anyhow::Result<Content> {
    let (namespace, known) = (life.namespace(), &life.node.known);
    let data = match wanted.kind {
        "secret" => known.secrets.get(&namespace, wanted.name).map(|secret| {
            let data = secret.data.unwrap_or_default().into_iter();
            data.map(|(key, value)| (key, value.0)).collect::<BTreeMap<_, _>>()
        }),
        _ => known.config_maps.get(&namespace, wanted.name).map(|map| {
            let data = map
                .data
                .unwrap_or_default()
                .into_iter()
                .map(|(key, value)| (key, value.into_bytes()));
            data.chain(
                map.binary_data
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(key, value)| (key, value.0)),
            )
            .collect()
        }),
    };
    let data = match data {
        Some(data) => data,
        None if wanted.is_optional => return Ok(Content::new()),
        None => anyhow::bail!("{} {:?} not found", wanted.kind, wanted.name),
    };
    let mode = |mode: Option<i32>| mode.unwrap_or(wanted.mode).unsigned_abs();
    let Some(items) = wanted.items else {
        return Ok(data
            .into_iter()
            .map(|(key, value)| (key, (value, mode(None))))
            .collect());
    };
    let mut content = Content::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => drop(content.insert(item.path.clone(), (value.clone(), mode(item.mode)))),
            None if wanted.is_optional => {}
            None => anyhow::bail!("references non-existent {} key: {}", wanted.kind, item.key),
        }
    }
    Ok(content)
}

fn fields(life: &Life, items: &[DownwardAPIVolumeFile], mode: i32) -> anyhow::Result<Content> {
    let mut content = Content::new();
    for item in items {
        let field = item
            .field_ref
            .as_ref()
            .context("a test node knows only fields of the pod")?;
        let value = environment::field(life, &field.field_path).map_err(anyhow::Error::msg)?;
        content.insert(
            item.path.clone(),
            (value.into_bytes(), item.mode.unwrap_or(mode).unsigned_abs()),
        );
    }
    Ok(content)
}

impl Tokens {
    /// A token of the pod's service account, which is replaced when most of its time is over.
    async fn get(&self, life: &Life, source: &ServiceAccountTokenProjection) -> anyhow::Result<String> {
        if let Some((token, until)) = self.lock().get(&source.path)
            && *until > Instant::now()
        {
            return Ok(token.clone());
        }
        let seconds = source.expiration_seconds.unwrap_or(3600);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(source.audience.iter().cloned().collect()),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(life.pod.name_any()),
                    uid: life.pod.uid(),
                }),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let account = life
            .spec
            .service_account_name
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let accounts: Api<ServiceAccount> = Api::namespaced(life.node.client.clone(), &life.namespace());
        let answer = accounts
            .create_token_request(&account, &PostParams::default(), &request)
            .await?;
        let token = answer
            .status
            .and_then(|status| status.token)
            .context("a token was asked for")?;
        let lasts = Duration::from_secs(seconds.max(0).cast_unsigned()) * 4 / 5;
        self.lock()
            .insert(source.path.clone(), (token.clone(), Instant::now() + lasts));
        Ok(token)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, (String, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a volume, if it is not so already.
pub(super) fn write(folder: &Path, content: &Content, group: Option<u32>) -> anyhow::Result<()> {
    let data = folder.join("..data");
    let is_same = data.exists()
        && content
            .iter()
            .all(|(path, (bytes, _))| fs::read(data.join(path)).is_ok_and(|known| known == *bytes))
        && fs::read_dir(&data)?.count() == tops(content).len();
    if is_same {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    let before = fs::read_link(&data).ok();
    let number = before
        .as_ref()
        .and_then(|name| name.to_str()?.strip_prefix("..")?.parse::<u64>().ok())
        .unwrap_or(0);
    let name = format!("..{}", number + 1);
    for (path, (bytes, mode)) in content {
        let path = folder.join(&name).join(path);
        fs::create_dir_all(path.parent().unwrap_or(folder))?;
        fs::write(&path, bytes)?;
        // The group of a pod reads what the owner does.
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        chown(&path, None, group)?;
    }
    fs::create_dir_all(folder.join(&name))?;
    let new = folder.join("..data_new");
    symlink(&name, &new)?;
    fs::rename(&new, &data)?;
    for top in tops(content) {
        let link = folder.join(&top);
        if link.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(&top), &link)?;
        }
    }
    if let Some(before) = before {
        fs::remove_dir_all(folder.join(before))?;
    }
    Ok(())
}

/// The names that are seen in the volume's own folder.
fn tops(content: &Content) -> std::collections::BTreeSet<String> {
    content
        .keys()
        .filter_map(|path| Some(path.split('/').next()?.to_owned()))
        .collect()
}
