//! The curves of the learning rate after the warm-up, as factors of the peak. With w warm-up steps, T total steps and step s:
//!
//! * linear: max(0, (T - s) / max(1, T - w))
//! * cosine: max(0, ½ (1 + cos π x)) with x = (s - w) / max(1, T - w)
//! * cosine_restarts: the same of the fraction of cycles · x, and 0 from x = 1 on; raised to the floor
//! * polynomial: linear to a power, raised to the floor
//! * one_cycle: from 1 / divFactor to 1 at step pctStart · T - 1, and from there to 1 / (divFactor · finalDivFactor) at step T - 1
//! * range_test: from a to the peak p in n steps, a · (p / a)^(s / (n - 1)); it stays there
//! * inverse_sqrt: 1 / √((s + t - w) / t) with the timescale t

use std::f64::consts::PI;

use crate::spec::{Anneal, OneCycleSpec};

/// Of a curve without a warm-up that says nothing else, as transformers has it.
const TIMESCALE: u64 = 10_000;

/// A step on a curve.
pub(super) struct Place {
    /// From 0; not below `warmup`.
    pub(super) step: u64,
    /// Steps of the linear rise.
    pub(super) warmup: u64,
    /// Steps of the job.
    pub(super) total_steps: u64,
}

impl Place {
    fn falling_steps(&self) -> f64 {
        self.total_steps.saturating_sub(self.warmup).max(1) as f64
    }

    /// From 0 to 1 at the end.
    pub(super) fn progress(&self) -> f64 {
        (self.step - self.warmup) as f64 / self.falling_steps()
    }

    /// From 1 to 0 at the end.
    pub(super) fn left(&self) -> f64 {
        self.total_steps.saturating_sub(self.step) as f64 / self.falling_steps()
    }

    pub(super) fn inverse_square_root(&self, timescale: Option<u32>) -> f64 {
        let timescale = match (timescale, self.warmup) {
            (Some(timescale), _) => u64::from(timescale),
            (None, 0) => TIMESCALE,
            (None, warmup) => warmup,
        } as f64;
        let steps = (self.step - self.warmup) as f64 + timescale;
        1.0 / (steps / timescale).sqrt()
    }
}

pub(super) fn half_cosine(progress: f64) -> f64 {
    (0.5 * (1.0 + (PI * progress).cos())).max(0.0)
}

/// Several in a row, of equal length.
pub(super) fn half_cosines(progress: f64, cycles: u32) -> f64 {
    match progress < 1.0 {
        true => half_cosine((f64::from(cycles) * progress) % 1.0),
        false => 0.0,
    }
}

/// From a floor up to the peak by a factor. A floor above the peak is the peak.
pub(super) fn above(floor: f64, peak: f64, factor: f64) -> f64 {
    let floor = floor.min(peak);
    floor + (peak - floor) * factor
}

/// From one rate to another in so many steps, each the same multiple of the one before.
pub(super) fn exponential(first: f64, last: f64, step: u64, steps: u32) -> f64 {
    let part = step as f64 / f64::from(steps.saturating_sub(1).max(1));
    match part < 1.0 {
        true => first * (last / first).powf(part),
        false => last,
    }
}

/// The arithmetic of `torch.optim.lr_scheduler.OneCycleLR` in two phases.
pub(super) fn one_cycle(cycle: &OneCycleSpec, peak: f64, step: u64, total_steps: u64) -> f64 {
    let initial = peak / cycle.div_factor;
    let last = total_steps.saturating_sub(1) as f64;
    let top = cycle.pct_start * total_steps as f64 - 1.0;
    let step = (step as f64).min(last);
    let (from, to, part) = match step <= top {
        true => (initial, peak, step / top),
        false => (peak, initial / cycle.final_div_factor, (step - top) / (last - top)),
    };
    // A phase of no steps is over at once.
    let part = if part.is_finite() { part } else { 1.0 };
    match cycle.anneal {
        Anneal::Cosine => to + (from - to) / 2.0 * (1.0 + (PI * part).cos()),
        Anneal::Linear => from + (to - from) * part,
    }
}
