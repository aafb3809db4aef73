//! What a spec must keep to whose network is a TorchScript file.

use super::super::{Freeze, ModelSpec};
use super::violations::Violations;

/// How names of such files end.
const ENDINGS: [&str; 4] = [".pt", ".pth", ".ts", ".torchscript"];

pub(super) fn check(model: &ModelSpec, violations: &mut Violations) {
    let file = model.weights.as_deref();
    let is_script = file.is_some_and(|file| ENDINGS.iter().any(|ending| file.ends_with(ending)));
    violations.require(is_script, "spec.model.weights", || {
        let found = file.map_or_else(|| "none".to_owned(), |file| format!("`{file}`"));
        format!(
            "must be a TorchScript file for `torchscript` ({}), found {found}",
            ENDINGS.join(", ")
        )
    });
    let cut = match &model.freeze {
        Freeze::All => "all",
        Freeze::Through(stage) => stage,
        Freeze::Nothing => "none",
    };
    let is_whole = model.freeze == Freeze::All || model.architecture.may_have_stage(cut);
    violations.require(is_whole, "spec.model.freeze.through", || {
        format!(
            "must be `all` for `torchscript`: its file is one frozen stage, and no cut stands inside it; found `{cut}`"
        )
    });
}
