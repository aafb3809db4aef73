//! `ColorJitter`: brightness, contrast, saturation and hue in random order.

use firn_core::{
    random::Random,
    spec::{AugmentationSpec, ColorJitterSpec},
};

use super::{Operation, canvas::Canvas, color};

/// Changes of colour, each with how much of it.
type Changes = [(fn(&mut Canvas, f64), Option<f64>); 4];

impl Operation for ColorJitterSpec {
    fn apply(&self, random: &mut Random, canvas: &mut Canvas) {
        for (change, factor) in drawn(self, random) {
            if let Some(factor) = factor {
                change(canvas, factor);
            }
        }
    }
}

pub(super) fn operation(spec: &AugmentationSpec) -> Option<Box<dyn Operation>> {
    Some(Box::new(spec.color_jitter?))
}

/// In the order in which they are made. Nothing is drawn for what the spec leaves at 0.
fn drawn(spec: &ColorJitterSpec, random: &mut Random) -> Changes {
    let mut factor = |most: f64, range: [f64; 2]| (most > 0.0).then(|| random.uniform(range));
    let around_one = |most: f64| [(1.0 - most).max(0.0), 1.0 + most];
    let mut changes: Changes = [
        (color::brightness, factor(spec.brightness, around_one(spec.brightness))),
        (color::contrast, factor(spec.contrast, around_one(spec.contrast))),
        (color::saturation, factor(spec.saturation, around_one(spec.saturation))),
        (color::hue, factor(spec.hue, [-spec.hue, spec.hue])),
    ];
    random.shuffle(&mut changes);
    changes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Brightness, contrast, saturation and hue, and the place of brightness in the order.
    pub(in super::super) fn draw(spec: &ColorJitterSpec, random: &mut Random) -> [f64; 5] {
        let changes = drawn(spec, random);
        let place = |wanted: fn(&mut Canvas, f64)| {
            let is_wanted = |(change, _): &(fn(&mut Canvas, f64), _)| std::ptr::fn_addr_eq(*change, wanted);
            changes.iter().position(is_wanted).unwrap()
        };
        let all: [fn(&mut Canvas, f64); 4] = [color::brightness, color::contrast, color::saturation, color::hue];
        let factors = all.map(|change| changes[place(change)].1.unwrap_or_default());
        [
            factors[0],
            factors[1],
            factors[2],
            factors[3],
            place(color::brightness) as f64,
        ]
    }
}
