//! What a model's frozen part is compared with: its digests at load, and copies folded anew from the originals.

use super::Model;
use crate::{
    cut::split,
    error::ModelError,
    frozen::{FrozenProof, FrozenTensors, compare, digest},
};

impl Model {
    /// BLAKE3 (hex) of every parameter and buffer that never trains, as they were when loaded.
    pub fn frozen_digest(&self) -> String {
        let (_, lowest) = self.loaded.last().expect("a job has a phase");
        lowest.clone()
    }

    /// What [`Self::verify_frozen`] looks at first, for a check beside the training.
    pub fn frozen_tensors(&self) -> FrozenTensors {
        let frozen = self
            .entries
            .iter()
            .filter(|entry| entry.is_frozen_below(self.phase.cut));
        let mut derived = Vec::new();
        self.frozen.iter().for_each(|stage| stage.derived(&mut derived));
        FrozenTensors {
            original: frozen
                .map(|entry| (entry.name.clone(), entry.tensor.shallow_clone()))
                .collect(),
            derived,
            expected: self.proof.clone(),
        }
    }

    /// Takes the digests of the frozen part anew and compares them with those taken at load, for the originals, for the copies that
    /// compute, and for copies folded afresh from the originals.
    ///
    /// # Errors
    /// [`ModelError::FrozenChanged`] when a byte differs.
    pub fn verify_frozen(&self) -> Result<FrozenProof, ModelError> {
        self.whose_copies_follow(self.frozen_tensors().verify()?)
    }

    /// Digest of copies that are folded from the original tensors now.
    fn derived_afresh(&self) -> Result<String, ModelError> {
        let (frozen, _) = split(self.family.build(&mut self.rebuilder())?, self.phase.cut)?;
        let mut derived = Vec::new();
        frozen.iter().for_each(|stage| stage.derived(&mut derived));
        digest(derived)
    }

    /// The digests of the frozen part as it is now, whose copies follow from the originals.
    ///
    /// # Errors
    /// [`ModelError::FrozenChanged`] when they do not.
    pub(crate) fn prove(&self) -> Result<FrozenProof, ModelError> {
        self.whose_copies_follow(self.frozen_tensors().digests()?)
    }

    /// The same digests, if the copies are those that the originals fold to now.
    fn whose_copies_follow(&self, now: FrozenProof) -> Result<FrozenProof, ModelError> {
        compare(
            "the folded copies against their originals",
            &self.derived_afresh()?,
            &now.derived,
        )?;
        Ok(now)
    }
}

#[cfg(test)]
mod tests {
    use firn_core::spec::{Architecture, Freeze, HeadSpec, ModelSpec, Pooling, StageDropout};
    use tch::{Device, Tensor};

    use crate::{Model, ModelError, ModelOptions};

    fn model() -> Model {
        let spec = ModelSpec {
            architecture: Architecture::MobilenetV2,
            weights: None,
            tokenizer: None,
            freeze: Freeze::Through("features.9".to_owned()).into(),
            lora: None,
            dropout: StageDropout::None,
            head: HeadSpec::Linear { dropout: 0.0 },
            pooling: Pooling::Mean,
        };
        let options = ModelOptions {
            spec: &spec,
            classes: 2,
            seed: 0,
            device: Device::Cpu,
            train_batch_norm: false,
        };
        Model::load(&options).unwrap()
    }

    fn raise_by_one(tensor: &Tensor) {
        let _ = tensor.detach().view(-1).get(0).g_add_scalar_(1.0);
    }

    fn what_changed(model: &Model) -> &'static str {
        let beside = std::thread::scope(|scope| {
            let tensors = model.frozen_tensors();
            scope.spawn(move || tensors.verify()).join().unwrap()
        });
        match (model.verify_frozen(), beside) {
            (Err(ModelError::FrozenChanged { what, .. }), Err(ModelError::FrozenChanged { what: beside, .. })) => {
                assert_eq!(beside, what, "a check beside the training finds the same");
                what
            }
            other => panic!("expected a changed frozen part, found {other:?}"),
        }
    }

    #[test]
    fn a_changed_running_statistic_below_the_cut_is_found() {
        let model = model();
        model.verify_frozen().unwrap();
        let entry = model
            .entries
            .iter()
            .find(|entry| entry.name == "features.9.conv.3.running_mean")
            .unwrap();
        raise_by_one(&entry.tensor);
        assert_eq!(what_changed(&model), "the loaded tensors");
    }

    #[test]
    fn a_changed_folded_copy_is_found() {
        let model = model();
        let mut derived = Vec::new();
        model.frozen[3].derived(&mut derived);
        raise_by_one(&derived[1].1);
        assert_eq!(what_changed(&model), "the folded copies");
    }

    #[test]
    fn copies_that_never_followed_from_the_originals_are_found() {
        let mut model = model();
        let mut derived = Vec::new();
        model.frozen[3].derived(&mut derived);
        raise_by_one(&derived[1].1);
        let error = model.prove().unwrap_err().to_string();
        assert!(error.contains("the folded copies against their originals"), "{error}");
        model.proof = model.frozen_tensors().digests().unwrap();
        let error = model.verify_frozen().unwrap_err().to_string();
        assert!(error.contains("the folded copies against their originals"), "{error}");
    }

    #[test]
    fn what_trains_may_change() {
        let model = model();
        let entry = model
            .entries
            .iter()
            .find(|entry| entry.name == "features.10.conv.3.running_mean")
            .unwrap();
        raise_by_one(&entry.tensor);
        raise_by_one(&model.head.tensors()[0].1);
        model.verify_frozen().unwrap();
    }
}
