//! Where the samples are, how they are prepared, and how they are changed.

use firn_core::spec::{
    Architecture, AugmentationSpec, ColorJitterSpec, CropMode, Crops, DataFormat, ErasedValue, Interpolation,
    MissingLabels, Modality, PaddingMode, Preprocessing, RandAugmentSpec, RandomCropSpec, RandomErasingSpec,
    RandomResizedCropSpec, RowLayout, SplitSource, TrivialAugmentWideSpec, WarpInterpolation, Word,
};
use proptest::prelude::*;

use super::path;

pub(super) fn split() -> impl Strategy<Value = Option<SplitSource>> {
    prop_oneof![
        Just(None),
        path().prop_map(|path| Some(SplitSource::Path(path))),
        (0.01..0.49).prop_map(|fraction| Some(SplitSource::FractionOfTrain(fraction))),
    ]
}

pub(super) fn data(architecture: Architecture) -> BoxedStrategy<(DataFormat, Preprocessing)> {
    match architecture.modality() {
        Modality::Image => images(architecture.crops()),
        Modality::Text => texts(),
    }
}

fn images(crops: Crops) -> BoxedStrategy<(DataFormat, Preprocessing)> {
    let (Crops::From(smallest) | Crops::Only(smallest)) = crops;
    (
        smallest.max(1)..2048,
        0.1f64..1.0,
        [0.0..1.0, 0.0..1.0, 0.0..1.0],
        [0.1..3.0, 0.1..3.0, 0.1..3.0],
        0u8..4,
    )
        .prop_map(move |(resize, part, mean, std, kind)| {
            let crop = match crops {
                Crops::From(_) => ((f64::from(resize) * part).ceil() as u32).max(smallest),
                Crops::Only(size) => size,
            };
            (
                match kind {
                    0 => DataFormat::ImageFolder,
                    _ => DataFormat::images(
                        match kind {
                            1 => RowLayout::JsonLines,
                            _ => RowLayout::Delimited {
                                delimiter: ';',
                                quoted: kind == 2,
                            },
                        },
                        "image",
                        "class",
                        (kind == 2).then(|| "/data/images".to_owned()),
                    ),
                },
                Preprocessing::Image {
                    resize,
                    interpolation: Interpolation::WORDS[usize::from(kind) % 2].1,
                    crop_mode: CropMode::WORDS[usize::from(kind / 2) % 2].1,
                    crop,
                    mean,
                    std,
                },
            )
        })
        .boxed()
}

fn texts() -> BoxedStrategy<(DataFormat, Preprocessing)> {
    let columns = ("[a-m]{1,8}", "[n-z]{1,8}");
    (columns, 0u8..4, any::<bool>(), prop::option::of(3u32..600))
        .prop_map(|((text, label), kind, quoted, max_length)| {
            let format = match kind {
                0 if quoted => DataFormat::pairs(RowLayout::JsonLines, text, "other", label),
                0 => DataFormat::texts(RowLayout::JsonLines, text, label),
                _ => DataFormat::texts(
                    RowLayout::Delimited {
                        delimiter: [',', '\t', ';'][usize::from(kind - 1)],
                        quoted,
                    },
                    text,
                    label,
                ),
            };
            (format, Preprocessing::Text { max_length })
        })
        .boxed()
}

/// How many samples may be corrupt, what becomes of rows without labels, and what of images in training.
pub(super) fn data_choices(
    is_image: bool,
) -> impl Strategy<Value = (u32, MissingLabels, Option<AugmentationSpec>)> + Clone {
    let missing = prop::sample::select(vec![MissingLabels::Error, MissingLabels::Drop, MissingLabels::Keep]);
    let augmentation = prop::option::of(augmentation()).prop_map(move |found| found.filter(|_| is_image));
    (any::<u32>(), missing, augmentation)
}

fn random_crop(flip: f64) -> Option<RandomCropSpec> {
    let padding_mode = match flip < 0.25 {
        true => PaddingMode::Reflect,
        false => PaddingMode::Edge,
    };
    (flip < 0.5).then_some(RandomCropSpec {
        padding: 0,
        padding_mode,
    })
}

fn augmentation() -> impl Strategy<Value = AugmentationSpec> + Clone {
    let range = || (0.01..0.5, 0.5..1.0).prop_map(|(least, most)| [least, most]);
    let erasing = (0.0..1.0, range(), range(), any::<bool>()).prop_map(|(probability, scale, ratio, is_random)| {
        let value = if is_random {
            ErasedValue::Random
        } else {
            ErasedValue::Zero
        };
        RandomErasingSpec {
            probability,
            scale,
            ratio,
            value,
        }
    });
    let policy = (1u32..9, 0u32..31, any::<bool>());
    let jitter = (0.0..2.0, 0.0..2.0, 0.0..2.0, 0.0..0.5);
    let parts = (
        prop::option::of((range(), range())),
        prop::option::of(policy),
        prop::option::of(jitter),
        prop::option::of(erasing),
    );
    (parts, 0.0..1.0, 0.0..180.0).prop_map(|((crop, policy, jitter, random_erasing), flip, rotation)| {
        let has_resized_crop = crop.is_some();
        AugmentationSpec {
            random_resized_crop: crop.map(|(scale, ratio)| RandomResizedCropSpec { scale, ratio }),
            random_crop: random_crop(flip).filter(|_| !has_resized_crop),
            horizontal_flip: flip,
            vertical_flip: 1.0 - flip,
            rotation,
            rand_augment: policy
                .filter(|(.., is_trivial)| !is_trivial)
                .map(|(num_ops, magnitude, _)| RandAugmentSpec {
                    num_ops,
                    magnitude,
                    num_magnitude_bins: 31,
                }),
            trivial_augment_wide: policy.filter(|(.., is_trivial)| *is_trivial).map(|(bins, ..)| {
                TrivialAugmentWideSpec {
                    num_magnitude_bins: bins + 1,
                }
            }),
            color_jitter: jitter.map(|(brightness, contrast, saturation, hue)| ColorJitterSpec {
                brightness,
                contrast,
                saturation,
                hue,
            }),
            grayscale: 1.0 - flip,
            random_erasing,
            interpolation: if flip < 0.5 {
                WarpInterpolation::Nearest
            } else {
                WarpInterpolation::Bilinear
            },
        }
    })
}
