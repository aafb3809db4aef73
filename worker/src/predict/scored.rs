//! How the ranks of a job computed what they scored: where it changes the last bit, and `spec.json` does not say it, `config.json` does.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tch::Device;

use crate::rank::learner::Learner;

/// Fields of `config.json`. Builds before left none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Scored {
    /// The epoch (from 0) that is exported: stages that were unfrozen later compute in their folded form. Without it all are unfrozen.
    #[serde(rename = "firn_epoch", default, skip_serializing_if = "Option::is_none")]
    pub(crate) epoch: Option<u32>,
    /// Threads of one rank on a processor, by whose number kernels cut their sums. None on a GPU.
    #[serde(rename = "firn_threads", default, skip_serializing_if = "Option::is_none")]
    pub(crate) threads: Option<u16>,
}

impl Scored {
    /// By this learner, in the thread that asks.
    pub(crate) fn by(learner: &Learner) -> Self {
        let device = learner.scorer().inputs.device();
        let threads = u16::try_from(tch::get_num_threads()).ok();
        Self {
            epoch: Some(learner.last_epoch()),
            threads: threads.filter(|_| device == Device::Cpu),
        }
    }

    /// As fields of the document.
    pub(crate) fn fields(self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => unreachable!("numbers under names are an object"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_of_builds_before_say_nothing_and_those_of_now_read_back() {
        let read = |text: &str| serde_json::from_str::<Scored>(text).unwrap();
        assert_eq!(read(r#"{"firn_format": 1, "num_labels": 2}"#), Scored::default());
        let scored = Scored {
            epoch: Some(3),
            threads: Some(2),
        };
        assert_eq!(
            Value::Object(scored.fields()).to_string(),
            r#"{"firn_epoch":3,"firn_threads":2}"#
        );
        assert_eq!(read(&Value::Object(scored.fields()).to_string()), scored);
        let on_gpu = Scored {
            threads: None,
            ..scored
        };
        assert_eq!(Value::Object(on_gpu.fields()).to_string(), r#"{"firn_epoch":3}"#);
    }
}
