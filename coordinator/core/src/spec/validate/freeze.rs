//! What may be said of the cut: which stages there are, when they begin to train, which parameters stay frozen, and where there may be adapters.

use super::{torchscript, violations::Violations};
use crate::spec::{Architecture, Freeze, FreezeSpec, JobSpec, LoraSpec, Precision, StageDropout, Word, nearest};

const THROUGH: &str = "spec.model.freeze.through";
const UNFREEZE: &str = "spec.model.freeze.unfreeze";
const PARAMETERS: &str = "spec.model.freeze.parameters";
const LORA: &str = "spec.model.lora";

pub(super) fn check(spec: &JobSpec, violations: &mut Violations) {
    let (architecture, freeze) = (spec.model.architecture, &spec.model.freeze);
    if architecture == Architecture::TorchScript {
        torchscript::freeze(freeze, violations);
    } else {
        stages(spec, violations);
    }
    let drops = spec.model.dropout == StageDropout::Configuration;
    violations.require(!drops || !freeze.trains_head_alone(), "spec.model.dropout", || {
        "must be `none` when freeze.through is `all`: no stage trains, and the head has a dropout of its own".to_owned()
    });
    if let Some(lora) = &spec.model.lora {
        adapters(architecture, freeze, lora, violations);
    }
    patterns(freeze, violations);
    precision(spec, violations);
    violations.require(
        spec.training.layer_decay >= 1.0 || !freeze.trains_head_alone(),
        "spec.training.layerDecay",
        || "must be 1 when freeze.through is `all`: the head has the whole rate, and nothing else trains".to_owned(),
    );
}

/// There has to be something that is computed otherwise.
fn precision(spec: &JobSpec, violations: &mut Violations) {
    let (architecture, freeze) = (spec.model.architecture, &spec.model.freeze);
    let reason = match freeze.through {
        _ if architecture == Architecture::TorchScript => "for `torchscript`, whose program computes as it was written",
        Freeze::Nothing => "when freeze.through is `none`: nothing is frozen",
        Freeze::All | Freeze::Through(_) => return,
    };
    let is_single = spec.training.frozen_precision == Precision::Single;
    violations.require(is_single, "spec.training.frozenPrecision", || {
        format!("must be `fp32` {reason}")
    });
}

/// Which stages train, and since when.
fn stages(spec: &JobSpec, violations: &mut Violations) {
    let (architecture, freeze) = (spec.model.architecture, &spec.model.freeze);
    if let Freeze::Through(stage) = &freeze.through {
        stage_of(architecture, (THROUGH, "`all`, `none` or a stage"), stage, violations);
    }
    for stage in freeze.unfreeze.keys() {
        stage_of(architecture, (&field_of(stage), "a stage"), stage, violations);
    }
    unfreezing(architecture, freeze, spec.training.epochs, violations);
}

fn field_of(stage: &str) -> String {
    format!("{UNFREEZE}.{stage}")
}

fn stage_of(architecture: Architecture, (field, expected): (&str, &str), stage: &str, violations: &mut Violations) {
    if architecture.may_have_stage(stage) {
        return;
    }
    let stages = architecture.stages(0);
    let words: &[&str] = if field == THROUGH { &["all", "none"] } else { &[] };
    let known = stages.iter().map(String::as_str).chain(words.iter().copied());
    let suggestion = nearest(stage, known)
        .map(|word| format!("; did you mean `{word}`?"))
        .unwrap_or_default();
    let list = architecture.stages_in_words();
    let architecture = architecture.word();
    violations.add(
        field,
        format!("must be {expected} of `{architecture}`, found `{stage}`{suggestion} (stages: {list})"),
    );
}

/// Stages train from the head downwards, each from an epoch that the job has.
fn unfreezing(architecture: Architecture, freeze: &FreezeSpec, epochs: u32, violations: &mut Violations) {
    if freeze.unfreeze.is_empty() {
        return;
    }
    let cut = match &freeze.through {
        Freeze::All => Some((usize::MAX, 0)),
        Freeze::Through(stage) => architecture.stage_place(stage),
        Freeze::Nothing => {
            let message = "must be left out when freeze.through is `none`: everything trains from the first epoch";
            violations.add(UNFREEZE, message.to_owned());
            None
        }
    };
    let Some(cut) = cut else { return };
    let named = freeze.unfreeze.iter();
    let mut stages: Vec<_> = named
        .filter_map(|(stage, epoch)| Some((architecture.stage_place(stage)?, stage, *epoch)))
        .collect();
    stages.sort_unstable_by(|one, other| other.cmp(one));
    let mut above: Option<(&String, u32)> = None;
    for (place, stage, epoch) in stages {
        let field = field_of(stage);
        violations.require(place <= cut, &field, || {
            "must be left out: the stage is above the cut, and trains from the first epoch".to_owned()
        });
        violations.require(epoch > 0 && epoch < epochs, &field, || {
            let last = epochs.saturating_sub(1);
            format!(
                "must be an epoch of the job after the first, which is 0, and up to the last, {last}; found {epoch}"
            )
        });
        if let Some((upper, from)) = above {
            violations.require(epoch >= from, &field, || {
                format!("must not be before {from}, from which `{upper}` trains, found {epoch}: a stage trains together with all above it")
            });
        }
        above = Some((stage, epoch));
    }
}

/// Adapters stand beside linear layers above the cut, and train in their place.
fn adapters(architecture: Architecture, freeze: &FreezeSpec, lora: &LoraSpec, violations: &mut Violations) {
    violations.require(architecture.has_linear_layers(), LORA, || {
        format!(
            "must be left out: `{}` has no linear layer but the head",
            architecture.word()
        )
    });
    violations.require(!freeze.trains_head_alone(), THROUGH, || {
        "must be `none` or a stage where there is model.lora: adapters stand beside the linear layers above the cut, found `all`".to_owned()
    });
    violations.require(freeze.parameters.is_empty(), PARAMETERS, || {
        "must be left out where there is model.lora: all parameters are frozen, and only adapters and the head train".to_owned()
    });
    for (place, target) in lora.targets.iter().enumerate() {
        let is_own = !target.is_empty() && !lora.targets[..place].contains(target);
        violations.require(is_own, &format!("{LORA}.targets[{place}]"), || {
            format!("must be the name of a linear layer, or its end behind a dot, named once; found `{target}`")
        });
    }
}

fn patterns(freeze: &FreezeSpec, violations: &mut Violations) {
    for (place, pattern) in freeze.parameters.iter().enumerate() {
        if let Err(error) = regex::Regex::new(pattern) {
            // The last line says what is wrong, those before it draw where.
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default();
            let reason = reason.strip_prefix("error: ").unwrap_or(reason);
            violations.add(
                &format!("{PARAMETERS}[{place}]"),
                format!("must be a regular expression, found `{pattern}`: {reason}"),
            );
        }
    }
    let has_any = !freeze.parameters.is_empty() && freeze.trains_head_alone();
    violations.require(!has_any, PARAMETERS, || {
        "must be left out when freeze.through is `all`: the parameters of all stages are frozen".to_owned()
    });
}
