//! What a `config.json` says that would make another network than ours is refused, with file and field.

use firn_core::spec::{Architecture, Freeze};
use serde_json::{Value, json};
use tch::Tensor;

use crate::support::*;

/// Loads a network with this configuration, one field of which says something else.
fn refusal(architecture: Architecture, config: &Value, field: &str, value: Value) -> String {
    let mut config = config.clone();
    config[field] = value;
    let file = WeightsFolder::with_config(&[("x".to_owned(), Tensor::from(0.0_f32))], &config);
    let error = load(&spec(architecture, Some(file.weights()), Freeze::All)).err();
    let error = error.expect("it is refused").to_string();
    assert!(error.contains("config.json"), "{error}");
    error
}

#[test]
fn configurations_of_other_decoders_are_refused() {
    let config = &golden("stages/qwen2.hugging_face")["config"];
    for (field, value, expected) in [
        (
            "model_type",
            json!("llama"),
            "field `model_type`: expected `qwen2`, found \"llama\"",
        ),
        (
            "use_sliding_window",
            json!(true),
            "field `use_sliding_window`: expected false, found true",
        ),
        (
            "num_key_value_heads",
            json!(3),
            "field `num_attention_heads`: expected a multiple of num_key_value_heads, found 4 with 3 heads",
        ),
        (
            "num_attention_heads",
            json!(6),
            "field `hidden_size`: expected a multiple of num_attention_heads, found 64 with 6 heads",
        ),
        (
            "rope_scaling",
            json!({"type": "yarn", "factor": 4.0}),
            "field `rope_scaling`: expected the positions `default`, `linear` or `llama3`, with their numbers, found {\"factor\":4.0,\"rope_type\":\"yarn\"}",
        ),
        (
            "rope_parameters",
            json!({"rope_type": "default", "partial_rotary_factor": 0.5}),
            "field `rope_parameters`: expected `partial_rotary_factor` 1.0, found {\"partial_rotary_factor\":0.5,\"rope_type\":\"default\"}",
        ),
        (
            "hidden_size",
            Value::Null,
            "expected the sizes of a decoder, found invalid type: null, expected i64",
        ),
    ] {
        let error = refusal(Architecture::Qwen2, config, field, value);
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn configurations_of_other_modernberts_are_refused() {
    let config = &golden("stages/modernbert.hugging_face")["config"];
    for (field, value, expected) in [
        (
            "norm_bias",
            json!(true),
            "field `norm_bias`: expected false, found true",
        ),
        (
            "layer_types",
            json!(["sliding_attention", "full_attention"]),
            "field `layer_types`: expected `full_attention` in the first of every so many layers, and `sliding_attention` in all others, found [SlidingAttention, FullAttention]",
        ),
        (
            "rope_parameters",
            json!({"full_attention": {"rope_type": "yarn", "rope_theta": 1e4}}),
            "field `rope_parameters`: expected `rope_type` `default`, found yarn",
        ),
    ] {
        let error = refusal(Architecture::ModernBert, config, field, value);
        assert!(error.ends_with(expected), "{error}");
    }
}
