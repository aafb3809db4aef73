//! Networks, cuts and heads.

use firn_core::spec::{
    Architecture, Freeze, FreezeSpec, HeadActivation, HeadSpec, LoraSpec, Modality, ModelSpec, StageDropout,
};
use proptest::prelude::*;

use super::path;

pub(super) fn model(architecture: Architecture) -> impl Strategy<Value = ModelSpec> {
    let stages = architecture.stages(5);
    let cut = prop_oneof![
        Just(Freeze::All),
        Just(Freeze::Nothing),
        prop::sample::select(stages.clone()).prop_map(Freeze::Through),
    ];
    let patterns = prop::collection::vec(prop::sample::select(vec![r"\.bias$", "norm", r"^layer\.1\."]), 0..3);
    // One frozen stage, of a file that has to be there.
    let is_script = architecture == Architecture::TorchScript;
    let freeze = (cut, any::<bool>(), patterns).prop_map(move |(through, is_gradual, patterns)| {
        if is_script {
            return Freeze::All.into();
        }
        let unfreeze = (is_gradual && through == Freeze::All).then(|| [(stages[0].clone(), 2), (stages[1].clone(), 1)]);
        let mut freeze = FreezeSpec::from(through);
        freeze.unfreeze.extend(unfreeze.into_iter().flatten());
        if !freeze.trains_head_alone() {
            freeze.parameters = patterns.into_iter().map(str::to_owned).collect();
        }
        freeze
    });
    let is_text = architecture.modality() == Modality::Text;
    (
        prop::option::of(path()),
        path(),
        freeze,
        (0.0..0.99, head()),
        prop::sample::select(architecture.poolings()),
    )
        .prop_map(
            move |(weights, tokenizer, freeze, (dropout, head), pooling)| ModelSpec {
                architecture,
                weights: match is_script {
                    true => Some("/models/network.pt".to_owned()),
                    false => weights.map(|path| format!("{path}.safetensors")),
                },
                tokenizer: is_text.then_some(tokenizer),
                lora: (is_text && !freeze.trains_head_alone() && freeze.parameters.is_empty()).then(|| LoraSpec {
                    rank: 4,
                    alpha: 8.0,
                    dropout,
                    targets: vec!["query".to_owned()],
                }),
                dropout: match is_text && !freeze.trains_head_alone() && dropout < 0.5 {
                    true => StageDropout::Configuration,
                    false => StageDropout::None,
                },
                freeze,
                head,
                pooling,
            },
        )
}

fn head() -> impl Strategy<Value = HeadSpec> {
    let activation = prop::sample::select(vec![
        HeadActivation::Relu,
        HeadActivation::Gelu,
        HeadActivation::Silu,
        HeadActivation::Tanh,
    ]);
    let sizes = prop::collection::vec(1..=65_536_u32, 1..=8);
    prop_oneof![
        (0.0..0.99).prop_map(|dropout| HeadSpec::Linear { dropout }),
        (0.0..0.99, sizes, activation).prop_map(|(dropout, hidden_sizes, activation)| HeadSpec::Mlp {
            dropout,
            hidden_sizes,
            activation,
        }),
        (0.0..0.99).prop_map(|dropout| HeadSpec::Ordinal { dropout }),
        (0.0..0.99, 0.1..100.0, any::<bool>()).prop_map(|(dropout, scale, learn_scale)| HeadSpec::Cosine {
            dropout,
            scale,
            learn_scale,
        }),
    ]
}
