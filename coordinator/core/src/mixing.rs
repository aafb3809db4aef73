//! How the images of a step are mixed: mixup and CutMix, as torchvision's transforms of a whole batch draw them.
//!
//! The coefficient is one for the global batch, a function of (seed, epoch, step), and the partner of a sample is the one before it in the global batch, as in
//! torchvision. The order of samples is random, so such a partner is one, too. So neither depends on the number of ranks, and a rank whose part is contiguous needs one
//! sample more than its own for each of its micro-batches: the partner of the first.

use std::ops::Range;

use crate::random::{Purpose, Random};
use crate::spec::MixingSpec;

/// What an image of a step takes from its partner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Blend {
    /// Nothing.
    None,
    /// All pixels: `own` of the image's, the rest of the partner's.
    Mixup {
        /// In [0, 1]; the label's share, too.
        own: f64,
    },
    /// The pixels of a rectangle.
    Cutmix {
        /// Columns that are the partner's.
        columns: [u32; 2],
        /// Rows that are the partner's.
        rows: [u32; 2],
        /// The part of the image that is left, and of its label.
        own: f64,
    },
}

impl Blend {
    /// Of a step (counted over the whole job) in its epoch. `side`: pixels a side of the images.
    pub fn draw(spec: &MixingSpec, seed: u64, (epoch, step): (u32, u64), side: u32) -> Self {
        let mut random = Random::within(seed, Purpose::Mixing, epoch, &[step]);
        if random.unit() >= spec.probability {
            return Self::None;
        }
        let takes_rectangle = random.unit() < spec.switch_probability;
        match (spec.mixup_alpha, spec.cutmix_alpha) {
            (Some(_), Some(alpha)) if takes_rectangle => Self::cutmix(beta(&mut random, alpha), &mut random, side),
            (Some(alpha), _) => Self::Mixup {
                own: beta(&mut random, alpha),
            },
            (None, Some(alpha)) => Self::cutmix(beta(&mut random, alpha), &mut random, side),
            (None, None) => Self::None,
        }
    }

    /// A rectangle around a point that is drawn, as far as it is within the image.
    fn cutmix(own: f64, random: &mut Random, side: u32) -> Self {
        let half = (0.5 * (1.0 - own).sqrt() * f64::from(side)) as u32;
        let mut edges = || {
            let centre = random.below(u64::from(side)) as u32;
            [centre.saturating_sub(half), (centre + half).min(side)]
        };
        let (columns, rows) = (edges(), edges());
        let area = f64::from((columns[1] - columns[0]) * (rows[1] - rows[0]));
        Self::Cutmix {
            columns,
            rows,
            own: 1.0 - area / (f64::from(side) * f64::from(side)),
        }
    }
}

/// The place of the partner of the sample at a place of the epoch's order: the one before it in the global batch, and of the first the last.
pub fn partner(place: u64, global_batch: &Range<u64>) -> u64 {
    match place == global_batch.start {
        true => global_batch.end - 1,
        false => place - 1,
    }
}

/// A number of the Beta(α, α) distribution: by Jöhnk's method (*Erzeugung von betaverteilten und gammaverteilten Zufallszahlen*, Metrika 8, 1964) up to 1, beyond that from
/// two numbers of the gamma distribution.
fn beta(random: &mut Random, alpha: f64) -> f64 {
    if alpha > 1.0 {
        let (one, other) = (gamma(random, alpha), gamma(random, alpha));
        return one / (one + other);
    }
    loop {
        // In (0, 1], so that the logarithm is finite.
        let logarithms = [(1.0 - random.unit()).ln() / alpha, (1.0 - random.unit()).ln() / alpha];
        let [one, other] = logarithms.map(f64::exp);
        if one + other <= 1.0 {
            // Small powers may both be 0; their ratio is not lost with them.
            return 1.0 / (1.0 + (logarithms[1] - logarithms[0]).exp());
        }
    }
}

/// Marsaglia & Tsang, *A Simple Method for Generating Gamma Variables*, ACM TOMS 26, 2000; for α of 1 and above.
fn gamma(random: &mut Random, alpha: f64) -> f64 {
    let d = alpha - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let [x, _] = random.normals();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - random.unit();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: MixingSpec = MixingSpec {
        mixup_alpha: Some(0.4),
        cutmix_alpha: Some(1.0),
        probability: 0.8,
        switch_probability: 0.25,
    };

    #[test]
    fn partners_are_those_of_a_roll_by_one() {
        let partners: Vec<u64> = (8..12).map(|place| partner(place, &(8..12))).collect();
        assert_eq!(partners, [11, 8, 9, 10]);
        assert_eq!(partner(3, &(3..4)), 3);
    }

    #[test]
    fn steps_are_mixed_as_often_as_is_asked_for() {
        let blends: Vec<Blend> = (0..20_000).map(|step| Blend::draw(&BOTH, 3, (1, step), 224)).collect();
        let share = |is: fn(&Blend) -> bool| blends.iter().filter(|blend| is(blend)).count() as f64 / 20_000.0;
        // Five standard deviations.
        assert!((share(|blend| *blend == Blend::None) - 0.2).abs() < 0.015);
        assert!((share(|blend| matches!(blend, Blend::Mixup { .. })) - 0.6).abs() < 0.018);
        assert!((share(|blend| matches!(blend, Blend::Cutmix { .. })) - 0.2).abs() < 0.015);
        let is_share = |blend: &Blend| match *blend {
            Blend::None => true,
            Blend::Mixup { own } | Blend::Cutmix { own, .. } => (0.0..=1.0).contains(&own),
        };
        assert!(blends.iter().all(is_share));
    }

    #[test]
    fn a_rectangle_is_as_large_as_what_its_label_says() {
        for step in 0..500 {
            let spec = MixingSpec {
                mixup_alpha: None,
                probability: 1.0,
                ..BOTH
            };
            let Blend::Cutmix { columns, rows, own } = Blend::draw(&spec, 9, (0, step), 32) else {
                panic!("nothing else is asked for")
            };
            let area = f64::from((columns[1] - columns[0]) * (rows[1] - rows[0]));
            assert!(columns[1] <= 32 && rows[1] <= 32 && (own - (1.0 - area / 1024.0)).abs() < 1e-12);
        }
    }

    /// Kolmogorov's distance to a distribution function of Beta(α, α); one in a thousand of 20,000 draws exceeds 0.0138.
    fn distance(alpha: f64, function: impl Fn(f64) -> f64) -> f64 {
        let mut drawn: Vec<f64> = (0..20_000)
            .map(|step| beta(&mut Random::within(7, Purpose::Mixing, 0, &[step]), alpha))
            .collect();
        drawn.sort_unstable_by(f64::total_cmp);
        let places = drawn.iter().enumerate();
        let far = places.map(|(place, x)| (function(*x) - (place as f64 + 0.5) / 20_000.0).abs());
        far.fold(0.0, f64::max)
    }

    #[test]
    fn coefficients_have_the_beta_distribution() {
        use std::f64::consts::PI;
        // The arcsine distribution, the uniform one, and two polynomials.
        assert!(distance(0.5, |x| 2.0 / PI * x.sqrt().asin()) < 0.0138);
        assert!(distance(1.0, |x| x) < 0.0138);
        assert!(distance(2.0, |x| x * x * (3.0 - 2.0 * x)) < 0.0138);
        assert!(distance(3.0, |x| x.powi(3) * (10.0 - 15.0 * x + 6.0 * x * x)) < 0.0138);
        // Nearly all at an end, and never lost to the smallest of numbers.
        let drawn = (0..2_000).map(|step| beta(&mut Random::within(1, Purpose::Mixing, 0, &[step]), 1e-3));
        let ends = drawn
            .filter(|x| (*x < 1e-6 || *x > 1.0 - 1e-6) && x.is_finite())
            .count();
        assert!(ends > 1_900, "{ends} of 2,000 are at an end");
    }
}
