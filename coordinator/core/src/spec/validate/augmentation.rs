//! What may be said of the changes of training images.

use super::{number, violations::Violations};
use crate::spec::{AugmentationSpec, DataSpec};

const PATH: &str = "spec.data.augmentation";

pub(super) fn check(data: &DataSpec, violations: &mut Violations) {
    let Some(augmentation) = &data.augmentation else {
        return;
    };
    ranges(augmentation, violations);
    if let Some(crop) = &augmentation.random_crop {
        violations.require(
            augmentation.random_resized_crop.is_none(),
            &format!("{PATH}.randomCrop"),
            || "not together with randomResizedCrop: an image is cut once".to_owned(),
        );
        if let Some(side) = data.preprocessing.crop() {
            violations.require(crop.padding < side, &format!("{PATH}.randomCrop.padding"), || {
                format!(
                    "must be below preprocessing.crop ({side}), or nothing of the image may be left; found {}",
                    crop.padding
                )
            });
        }
    }
    if let Some(policy) = &augmentation.rand_augment {
        let (magnitude, bins) = (policy.magnitude, policy.num_magnitude_bins);
        violations.require(magnitude < bins, &format!("{PATH}.randAugment.magnitude"), || {
            format!("must be below numMagnitudeBins ({bins}), found {magnitude}")
        });
        violations.require(
            augmentation.trivial_augment_wide.is_none(),
            &format!("{PATH}.trivialAugmentWide"),
            || "not together with randAugment: each takes operations from the same list".to_owned(),
        );
    }
}

/// The least stands before the most.
fn ranges(augmentation: &AugmentationSpec, violations: &mut Violations) {
    let crop = augmentation.random_resized_crop.iter();
    let crop = crop.flat_map(|crop| {
        [
            ("randomResizedCrop.scale", crop.scale),
            ("randomResizedCrop.ratio", crop.ratio),
        ]
    });
    let erasing = augmentation.random_erasing.iter();
    let erasing = erasing.flat_map(|erasing| {
        [
            ("randomErasing.scale", erasing.scale),
            ("randomErasing.ratio", erasing.ratio),
        ]
    });
    for (field, [least, most]) in crop.chain(erasing) {
        violations.require(least <= most, &format!("{PATH}.{field}"), || {
            format!(
                "must be the least and the most, found {} and {}",
                number(least),
                number(most)
            )
        });
    }
}
