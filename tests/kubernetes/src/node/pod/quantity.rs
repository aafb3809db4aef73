//! Amounts as Kubernetes writes them: `500m`, `2Gi`.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The endings, and what they multiply by.
const ENDINGS: [(&str, f64); 11] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("P", 1e15),
    ("", 1.0),
];

/// The number.
pub(super) fn value(quantity: &Quantity) -> Option<f64> {
    ENDINGS.iter().find_map(|(ending, factor)| {
        let number = quantity.0.strip_suffix(ending)?;
        Some(number.parse::<f64>().ok()? * factor)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endings_multiply() {
        for (text, number) in [
            ("2", 2.0),
            ("500m", 0.5),
            ("1Ki", 1024.0),
            ("1.5Gi", 1_610_612_736.0),
            ("3M", 3e6),
            ("1e3", 1e3),
        ] {
            assert_eq!(value(&Quantity(text.to_owned())), Some(number), "{text}");
        }
        assert_eq!(value(&Quantity("many".to_owned())), None);
    }
}
