//! Random numbers that depend on what they are for and on nothing else.
//!
//! Every tensor and every dropout mask draws from its own stream, named by a purpose and numbers. So neither the order in which
//! things are made nor the rank that makes them changes a value. A stream is BLAKE3's extended output, which is counter-based and
//! equal on every machine; the logarithm is computed here, because the system's differs in the last bit between machines, and the
//! digest of randomly initialised frozen tensors must not.

/// A named sequence of random numbers.
pub(crate) struct Stream {
    reader: blake3::OutputReader,
    block: [u8; 1024],
    used: usize,
}

impl Stream {
    /// The stream for this purpose, numbers and name.
    pub(crate) fn new(purpose: &str, numbers: &[u64], name: &str) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("firn 2026 random stream v1");
        hasher.update(&(purpose.len() as u64).to_le_bytes());
        hasher.update(purpose.as_bytes());
        for number in numbers {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(name.as_bytes());
        Self {
            reader: hasher.finalize_xof(),
            block: [0; 1024],
            used: 1024,
        }
    }

    /// 32 uniform bits.
    pub(crate) fn bits(&mut self) -> u32 {
        if self.used == self.block.len() {
            self.reader.fill(&mut self.block);
            self.used = 0;
        }
        let four = &self.block[self.used..self.used + 4];
        self.used += 4;
        u32::from_le_bytes([four[0], four[1], four[2], four[3]])
    }

    /// Uniform in [0, 1), a multiple of 2⁻³².
    fn unit(&mut self) -> f64 {
        f64::from(self.bits()) / 4_294_967_296.0
    }

    /// Uniform in [-bound, bound).
    pub(crate) fn uniform(&mut self, count: usize, bound: f64) -> Vec<f32> {
        (0..count).map(|_| ((2.0 * self.unit() - 1.0) * bound) as f32).collect()
    }

    /// Normal with mean 0, by Marsaglia's polar method.
    pub(crate) fn normal(&mut self, count: usize, deviation: f64) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let (x, y) = (2.0 * self.unit() - 1.0, 2.0 * self.unit() - 1.0);
            let square = x * x + y * y;
            if square >= 1.0 || square == 0.0 {
                continue;
            }
            let factor = deviation * (-2.0 * natural_logarithm(square) / square).sqrt();
            values.push((x * factor) as f32);
            values.push((y * factor) as f32);
        }
        values.truncate(count);
        values
    }
}

/// ln x for normal positive x, by ln(m·2ᵉ) = e·ln 2 + 2·artanh((m-1)/(m+1)) with m in [√½, √2): only operations that IEEE 754
/// rounds exactly, so equal everywhere; within 1e-15 relative of the true value.
fn natural_logarithm(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa /= 2.0;
        exponent += 1;
    }
    let ratio = (mantissa - 1.0) / (mantissa + 1.0);
    let square = ratio * ratio;
    let series = (0..12)
        .rev()
        .fold(0.0, |sum, term| sum * square + 1.0 / f64::from(2 * term + 1));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * ratio * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_agrees_with_the_systems() {
        for step in 1..2000 {
            let x = f64::from(step) * 0.000_731;
            assert!(
                (natural_logarithm(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(0.1),
                "ln {x}"
            );
        }
    }

    #[test]
    fn normal_numbers_have_the_moments_of_a_normal_distribution() {
        let values = Stream::new("test", &[7], "normal").normal(200_000, 2.0);
        let count = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / count;
        let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / count;
        let beyond = values.iter().filter(|v| v.abs() > 4.0).count() as f64 / count;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 4.0).abs() < 0.05, "variance {variance}");
        assert!((beyond - 0.0455).abs() < 0.003, "beyond two deviations {beyond}");
    }

    #[test]
    fn a_stream_depends_on_its_purpose_its_numbers_and_its_name_only() {
        let first = Stream::new("a", &[1, 2], "x").uniform(8, 1.0);
        assert_eq!(first, Stream::new("a", &[1, 2], "x").uniform(8, 1.0));
        for other in [
            Stream::new("b", &[1, 2], "x"),
            Stream::new("a", &[1, 3], "x"),
            Stream::new("a", &[1, 2], "y"),
        ] {
            let mut other = other;
            assert_ne!(first, other.uniform(8, 1.0));
        }
    }

    #[test]
    fn the_first_numbers_never_change_between_versions() {
        // A job that resumes under a newer Firn must find the same dropout masks; these were printed by the first version.
        let mut stream = Stream::new("golden", &[42], "name");
        assert_eq!([stream.bits(), stream.bits(), stream.bits()], GOLDEN);
    }

    const GOLDEN: [u32; 3] = [310_839_324, 605_119_516, 1_312_983_997];
}
