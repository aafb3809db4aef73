//! `config.json` of timm: the word of the architecture, and the preprocessing of its weights in one place.

use serde_json::Value;

use super::{CONFIG, Described, refused};
use crate::spec::{Architecture, CropMode, Interpolation, Preprocessing, Word};

/// timm's words where they are others.
const WORDS: [(&str, Architecture); 22] = [
    ("mobilenetv2_100", Architecture::MobilenetV2),
    ("mobilenetv3_large_100", Architecture::MobilenetV3Large),
    ("mobilenetv3_small_100", Architecture::MobilenetV3Small),
    ("vit_base_patch16_224", Architecture::VitB16),
    ("vit_base_patch32_224", Architecture::VitB32),
    ("vit_large_patch16_224", Architecture::VitL16),
    ("vit_large_patch32_224", Architecture::VitL32),
    ("vit_huge_patch14_224", Architecture::VitH14),
    ("vit_small_patch14_dinov2", Architecture::Dinov2VitS14),
    ("vit_base_patch14_dinov2", Architecture::Dinov2VitB14),
    ("vit_large_patch14_dinov2", Architecture::Dinov2VitL14),
    ("vit_giant_patch14_dinov2", Architecture::Dinov2VitG14),
    ("vit_small_patch14_reg4_dinov2", Architecture::Dinov2VitS14Reg),
    ("vit_base_patch14_reg4_dinov2", Architecture::Dinov2VitB14Reg),
    ("vit_large_patch14_reg4_dinov2", Architecture::Dinov2VitL14Reg),
    ("vit_giant_patch14_reg4_dinov2", Architecture::Dinov2VitG14Reg),
    ("swin_tiny_patch4_window7_224", Architecture::SwinT),
    ("swin_small_patch4_window7_224", Architecture::SwinS),
    ("swin_base_patch4_window7_224", Architecture::SwinB),
    ("swinv2_tiny_window8_256", Architecture::SwinV2T),
    ("swinv2_small_window8_256", Architecture::SwinV2S),
    ("swinv2_base_window8_256", Architecture::SwinV2B),
];

pub(super) fn describe(config: &Value) -> Result<Described, String> {
    let written = config["architecture"].as_str().unwrap_or_default();
    // The tag behind the point says how the weights were trained.
    let word = written.split('.').next().unwrap_or_default();
    let other = WORDS.iter().find(|(theirs, _)| *theirs == word);
    let architecture = other.map(|(_, architecture)| *architecture);
    let architecture = architecture.or_else(|| Architecture::from_word(word)).ok_or_else(|| {
        let expected = "an architecture that `firn models` lists";
        refused(CONFIG, "architecture", expected, &format!("`{written}`"))
    })?;
    let weights = config.get("pretrained_cfg").filter(|found| found.is_object());
    Ok(Described {
        architecture,
        preprocessing: weights.map(preprocessing).transpose()?,
    })
}

/// As timm's `create_transform` for evaluation.
fn preprocessing(weights: &Value) -> Result<Preprocessing, String> {
    let wrong = |field: &str, expected: &str| {
        refused(
            CONFIG,
            &format!("pretrained_cfg.{field}"),
            expected,
            &weights[field].to_string(),
        )
    };
    let input = weights["input_size"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sides: Vec<u64> = input.iter().filter_map(Value::as_u64).collect();
    let crop = match sides.as_slice() {
        [3, height, width] if height == width => u32::try_from(*height).ok(),
        _ => None,
    };
    let crop = crop.ok_or_else(|| wrong("input_size", "three channels of a square"))?;
    let percentage = weights["crop_pct"].as_f64().unwrap_or(0.875);
    if !(percentage > 0.0 && percentage <= 1.0) {
        return Err(wrong("crop_pct", "a number above 0 and at most 1"));
    }
    let three = |field: &str| -> Result<[f64; 3], String> {
        let numbers = weights[field].as_array().into_iter().flatten().map(Value::as_f64);
        let numbers: Option<Vec<f64>> = numbers.collect();
        let three = numbers.and_then(|numbers| numbers.try_into().ok());
        three.ok_or_else(|| wrong(field, "three numbers"))
    };
    let interpolation = weights["interpolation"].as_str().unwrap_or("bilinear");
    let crop_mode = weights["crop_mode"].as_str().unwrap_or("center");
    Ok(Preprocessing::Image {
        resize: (f64::from(crop) / percentage).floor() as u32,
        interpolation: Interpolation::from_word(interpolation)
            .ok_or_else(|| wrong("interpolation", "`bilinear` or `bicubic`"))?,
        crop_mode: CropMode::from_word(crop_mode).ok_or_else(|| wrong("crop_mode", "`center` or `squash`"))?,
        crop,
        mean: three("mean")?,
        std: three("std")?,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(architecture: &str, crop_pct: f64) -> Value {
        json!({
            "architecture": architecture,
            "num_classes": 1000,
            "pretrained_cfg": {
                "input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": crop_pct, "crop_mode": "center",
                "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
            },
        })
    }

    #[test]
    fn words_and_percentages_are_timms() {
        for (written, crop_pct, architecture, expected) in [
            ("resnet50", 0.95, Architecture::Resnet50, 235),
            ("vit_base_patch16_224", 0.9, Architecture::VitB16, 248),
            ("convnext_tiny.fb_in1k", 0.875, Architecture::ConvnextTiny, 256),
            ("mobilenetv2_100.ra_in1k", 0.875, Architecture::MobilenetV2, 256),
            ("vgg16_bn.tv_in1k", 0.875, Architecture::Vgg16Bn, 256),
        ] {
            let found = describe(&config(written, crop_pct)).unwrap();
            assert_eq!(found.architecture, architecture);
            let Some(Preprocessing::Image { resize, crop, .. }) = found.preprocessing else {
                panic!("it takes images")
            };
            assert_eq!((resize, crop), (expected, 224), "{written}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let mut odd = config("resnet50", 0.95);
        odd["pretrained_cfg"]["interpolation"] = json!("lanczos");
        assert_eq!(
            describe(&odd).unwrap_err(),
            "`config.json`: `pretrained_cfg.interpolation`: expected `bilinear` or `bicubic`, found \"lanczos\""
        );
        odd["pretrained_cfg"]["input_size"] = json!([1, 28, 28]);
        assert_eq!(
            describe(&odd).unwrap_err(),
            "`config.json`: `pretrained_cfg.input_size`: expected three channels of a square, found [1,28,28]"
        );
    }
}
