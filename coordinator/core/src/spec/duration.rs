//! Durations with a unit, as people write them in a spec.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// In the schema: a text that is a duration.
pub(super) struct Duration;

/// `format` of such a text.
pub(super) const FORMAT: &str = "duration-with-unit";

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": FORMAT})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Kept in milliseconds, written with a unit.
pub(super) fn serialize<S: Serializer>(milliseconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&write(*milliseconds))
}

/// The same of a duration that need not be there.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in super::super) fn serialize<S: Serializer>(
        milliseconds: &Option<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match milliseconds {
            Some(milliseconds) => serializer.serialize_some(&super::write(*milliseconds)),
            None => serializer.serialize_none(),
        }
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
        let written = Option::<String>::deserialize(deserializer)?;
        written
            .map(|written| super::milliseconds(&written).map_err(D::Error::custom))
            .transpose()
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let written = String::deserialize(deserializer)?;
    milliseconds(&written).map_err(D::Error::custom)
}

/// Milliseconds of a duration; the error says what was expected and what was found.
pub(super) fn milliseconds(written: &str) -> Result<u64, String> {
    read(written).ok_or_else(|| {
        format!("must be a number with a unit (`500ms`, `90s`, `5m`, `1h`), at most 365 days, found `{written}`")
    })
}

/// Milliseconds of each unit, longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// 365 days: what is longer is a mistake.
const LONGEST_MS: u64 = 365 * 24 * 3_600_000;

/// Milliseconds of `90s`, `5m`, `1h` or `500ms`; `None` for anything else and for more than 365 days.
fn read(written: &str) -> Option<u64> {
    let digits = written.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = written.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(known, _)| *known == unit)?;
    let milliseconds = number.parse::<u64>().ok()?.checked_mul(*factor)?;
    (milliseconds <= LONGEST_MS).then_some(milliseconds)
}

/// The shortest exact way to write it, in seconds up to two minutes; `0s` for 0.
pub(super) fn write(milliseconds: u64) -> String {
    let fits = |factor: u64| {
        milliseconds.is_multiple_of(factor) && (factor <= 1000 || (milliseconds >= factor && milliseconds > 120_000))
    };
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, factor)| fits(*factor))
        .expect("every number of milliseconds is a multiple of 1");
    format!("{}{unit}", milliseconds / factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_with_a_unit() {
        for (written, milliseconds) in [
            ("0s", Some(0)),
            ("500ms", Some(500)),
            ("90s", Some(90_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("8760h", Some(31_536_000_000)),
            ("8761h", None),
            ("99999999999999999999s", None),
            ("60", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("1 s", None),
            ("1d", None),
        ] {
            assert_eq!(read(written), milliseconds, "{written}");
        }
    }

    #[test]
    fn what_is_written_back_is_what_was_read() {
        for (milliseconds, written) in [
            (0, "0s"),
            (1, "1ms"),
            (60_000, "60s"),
            (90_000, "90s"),
            (300_000, "5m"),
            (3_600_000, "1h"),
            (5_400_000, "90m"),
            (121_500, "121500ms"),
        ] {
            assert_eq!(write(milliseconds), written);
            assert_eq!(read(written), Some(milliseconds));
        }
    }
}
