//! The exponential moving average of what trains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An exponential moving average of all that trains. It is what is validated, chosen, exported and predicted with; gradients are those of the trained
/// weights themselves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmaSpec {
    /// What is kept of the average at each step. The first step gives the average its first values, as in torch's `AveragedModel` with
    /// `get_ema_multi_avg_fn`, and in timm's `ModelEmaV3`.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0, "default" = 0.999))]
    pub decay: f64,
    /// Whether less is kept at first: min(`decay`, 1 - step^(-2/3)) at a step, which counts from 1, as timm's `use_warmup`. For short runs.
    #[schemars(extend("default" = false))]
    pub warmup: bool,
}

/// Of timm's `ModelEmaV3`, `warmup_power`.
const WARMUP_POWER: f64 = 2.0 / 3.0;

impl EmaSpec {
    /// What is kept of the average at an update, which counts from 1: 0 at the first.
    pub fn decay_at(&self, update: u64) -> f64 {
        match update.saturating_sub(1) {
            0 => 0.0,
            // `1 - (1 + step / warmup_gamma) ** -warmup_power`, with a `warmup_gamma` of 1.
            before if self.warmup => (1.0 - (1.0 + before as f64).powf(-WARMUP_POWER)).min(self.decay),
            _ => self.decay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decay_of_a_step_is_that_of_timm() {
        // `ModelEmaV3(model, decay=0.99, use_warmup=warmup).get_decay(step)` of timm 1.0 for these steps.
        let steps = [1, 2, 3, 10, 500, 1000, 100_000];
        let warm = [
            0.0,
            0.370_039_475_052_563_4,
            0.519_250_143_230_863_8,
            0.784_556_530_996_810_1,
            0.984_125_989_480_318,
            0.99,
            0.99,
        ];
        let at = |warmup, step| EmaSpec { decay: 0.99, warmup }.decay_at(step);
        for (step, expected) in steps.into_iter().zip(warm) {
            assert!((at(true, step) - expected).abs() < 1e-12, "{step}: {}", at(true, step));
            assert_eq!(at(false, step), if step == 1 { 0.0 } else { 0.99 });
        }
    }
}
