//! The variables of a container.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ResourceFieldSelector};
use kube::ResourceExt as _;

use super::{Life, quantity};
use crate::node::images::Image;

/// Where programs are looked for, if neither image nor pod says.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// All variables of a container.
///
/// # Errors
/// If something that they are read from is not there, in the words of a kubelet.
pub(super) fn of_container(
    life: &Life,
    container: &Container,
    image: &Image,
) -> Result<BTreeMap<String, String>, String> {
    let mut variables = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("HOSTNAME".to_owned(), life.hostname()),
    ]);
    variables.extend(life.node.cluster_variables());
    variables.extend(image.environment.clone());
    let namespace = life.namespace();
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.clone().unwrap_or_default();
        if let Some(reference) = &source.secret_ref {
            let found = secret(life, (&namespace, &reference.name), reference.optional)?;
            variables.extend(
                found
                    .into_iter()
                    .map(|(name, value)| (format!("{prefix}{name}"), value)),
            );
        }
        if let Some(reference) = &source.config_map_ref {
            let found = config_map(life, (&namespace, &reference.name), reference.optional)?;
            variables.extend(
                found
                    .into_iter()
                    .map(|(name, value)| (format!("{prefix}{name}"), value)),
            );
        }
    }
    for EnvVar {
        name,
        value,
        value_from,
    } in container.env.iter().flatten()
    {
        let value = match value_from {
            None => Some(expand(value.as_deref().unwrap_or_default(), &variables)),
            Some(source) => referred(life, container, source)?,
        };
        if let Some(value) = value {
            variables.insert(name.clone(), value);
        }
    }
    Ok(variables)
}

/// What a variable is read from; nothing, if that need not be there and is not.
fn referred(life: &Life, container: &Container, source: &EnvVarSource) -> Result<Option<String>, String> {
    let namespace = life.namespace();
    if let Some(field) = &source.field_ref {
        return self::field(life, &field.field_path).map(Some);
    }
    if let Some(resource) = &source.resource_field_ref {
        return self::resource(container, resource).map(Some);
    }
    if let Some(reference) = &source.secret_key_ref {
        let found = secret(life, (&namespace, &reference.name), reference.optional)?;
        let missing = || {
            format!(
                "couldn't find key {} in Secret {namespace}/{}",
                reference.key, reference.name
            )
        };
        return picked(found, &reference.key, reference.optional, missing);
    }
    if let Some(reference) = &source.config_map_key_ref {
        let found = config_map(life, (&namespace, &reference.name), reference.optional)?;
        let missing = || {
            format!(
                "couldn't find key {} in ConfigMap {namespace}/{}",
                reference.key, reference.name
            )
        };
        return picked(found, &reference.key, reference.optional, missing);
    }
    Err("a test node knows no such source of a variable".to_owned())
}

fn picked(
    mut found: BTreeMap<String, String>,
    key: &str,
    optional: Option<bool>,
    missing: impl Fn() -> String,
) -> Result<Option<String>, String> {
    match found.remove(key) {
        None if !optional.unwrap_or(false) => Err(missing()),
        value => Ok(value),
    }
}

fn secret(
    life: &Life,
    (namespace, name): (&str, &str),
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, String> {
    let Some(secret) = life.node.known.secrets.get(namespace, name) else {
        return if optional.unwrap_or(false) {
            Ok(BTreeMap::new())
        } else {
            Err(format!("secret {name:?} not found"))
        };
    };
    let data = secret.data.unwrap_or_default().into_iter();
    Ok(data
        .map(|(key, value)| (key, String::from_utf8_lossy(&value.0).into_owned()))
        .collect())
}

fn config_map(
    life: &Life,
    (namespace, name): (&str, &str),
    optional: Option<bool>,
) -> Result<BTreeMap<String, String>, String> {
    match life.node.known.config_maps.get(namespace, name) {
        Some(map) => Ok(map.data.unwrap_or_default()),
        None if optional.unwrap_or(false) => Ok(BTreeMap::new()),
        None => Err(format!("configmap {name:?} not found")),
    }
}

/// A field of the pod.
pub(super) fn field(life: &Life, path: &str) -> Result<String, String> {
    let pod = &life.pod;
    let mapped = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
    if let Some(label) = mapped("metadata.labels['") {
        return Ok(pod.labels().get(&label).cloned().unwrap_or_default());
    }
    if let Some(annotation) = mapped("metadata.annotations['") {
        return Ok(pod.annotations().get(&annotation).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Ok(pod.name_any()),
        "metadata.namespace" => Ok(life.namespace()),
        "metadata.uid" => Ok(pod.uid().unwrap_or_default()),
        "metadata.labels" => Ok(lines(pod.labels())),
        "metadata.annotations" => Ok(lines(pod.annotations())),
        "spec.nodeName" => Ok(life.node.settings.name.clone()),
        "spec.serviceAccountName" => Ok(life.spec.service_account_name.clone().unwrap_or_default()),
        "status.hostIP" | "status.hostIPs" => Ok("127.0.0.1".to_owned()),
        "status.podIP" | "status.podIPs" => Ok(life.address.to_string()),
        _ => Err(format!("unsupported fieldPath: {path}")),
    }
}

fn lines(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<String> = map.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    lines.join("\n")
}

/// What a container may have, or asks for, in whole units of the divisor.
fn resource(container: &Container, selector: &ResourceFieldSelector) -> Result<String, String> {
    let resources = container.resources.clone().unwrap_or_default();
    let (kind, name) = selector.resource.split_once('.').unwrap_or_default();
    let amounts = match kind {
        "limits" => resources.limits,
        "requests" => resources.requests,
        _ => None,
    };
    let amount = amounts.and_then(|amounts| quantity::value(amounts.get(name)?));
    let divisor = selector
        .divisor
        .as_ref()
        .and_then(quantity::value)
        .filter(|divisor| *divisor > 0.0);
    let amount = amount.ok_or_else(|| format!("a test node has no {}", selector.resource))?;
    Ok(format!("{}", (amount / divisor.unwrap_or(1.0)).ceil()))
}

/// Puts variables in the place of `$(NAME)`; `$$(NAME)` stays `$(NAME)`, and what is not known stays as it is.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
            match variables.get(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_variables_are_put_in_and_others_stay() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        for (text, expected) in [
            ("$(A)-$(A)", "1-1"),
            ("$(B)", "$(B)"),
            ("$$(A)", "$(A)"),
            ("$A $(A", "$A $(A"),
            ("100 $", "100 $"),
        ] {
            assert_eq!(expand(text, &variables), expected, "{text}");
        }
    }
}
