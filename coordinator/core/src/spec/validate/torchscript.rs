//! What a spec must keep to whose network is a TorchScript file.

use super::super::{Freeze, FreezeSpec, ModelSpec};
use super::violations::Violations;

/// How names of such files end.
const ENDINGS: [&str; 4] = [".pt", ".pth", ".ts", ".torchscript"];

pub(super) fn weights(model: &ModelSpec, violations: &mut Violations) {
    let file = model.weights.as_deref();
    let is_script = file.is_some_and(|file| ENDINGS.iter().any(|ending| file.ends_with(ending)));
    violations.require(is_script, "spec.model.weights", || {
        let found = file.map_or_else(|| "none".to_owned(), |file| format!("`{file}`"));
        format!(
            "must be a TorchScript file for `torchscript` ({}), found {found}",
            ENDINGS.join(", ")
        )
    });
}

pub(super) fn freeze(freeze: &FreezeSpec, violations: &mut Violations) {
    let cut = match &freeze.through {
        Freeze::All => "all",
        Freeze::Through(stage) => stage,
        Freeze::Nothing => "none",
    };
    violations.require(freeze.trains_head_alone(), "spec.model.freeze", || {
        let found = match freeze.unfreeze.keys().next() {
            Some(stage) => format!("through `{cut}`, and an epoch from which `{stage}` trains"),
            None => format!("through `{cut}`"),
        };
        format!("must be through `all` for `torchscript`: its file is one frozen stage, and no cut stands inside it; found {found}")
    });
}
