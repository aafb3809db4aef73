//! `preprocessor_config.json` of transformers: what each kind of image processor does with its settings.

use serde_json::{Value, json};

use super::refused;
use crate::spec::{CropMode, Interpolation, Preprocessing};

/// The file that says what comes before a network of images.
pub const PREPROCESSOR: &str = "preprocessor_config.json";

/// A side from which a ConvNeXt processor squashes and does not crop.
const SQUASHED_FROM: u64 = 384;

/// What a processor does, as a job does it.
pub(super) fn preprocessing(config: &Value) -> Result<Preprocessing, String> {
    let kind = ["image_processor_type", "feature_extractor_type"]
        .iter()
        .find_map(|field| config[*field].as_str())
        .unwrap_or_default();
    let name = kind
        .trim_end_matches("Fast")
        .trim_end_matches("Pil")
        .trim_end_matches("ImageProcessor")
        .trim_end_matches("FeatureExtractor");
    must(config, "do_resize", true)?;
    must(config, "do_rescale", true)?;
    rescales_to_one(config)?;
    let (resize, crop_mode, crop) = match name {
        "ViT" => squashed(config)?,
        "ConvNext" => by_percentage(config)?,
        "Bit" | "CLIP" | "DeiT" => cropped(config)?,
        _ => {
            let expected = "that of `ViT`, `ConvNext`, `Bit`, `CLIP` or `DeiT`";
            return Err(refused(
                PREPROCESSOR,
                "image_processor_type",
                expected,
                &format!("`{kind}`"),
            ));
        }
    };
    let (mean, std) = match config["do_normalize"] == false {
        true => ([0.0; 3], [1.0; 3]),
        false => (channels(config, "image_mean")?, channels(config, "image_std")?),
    };
    Ok(Preprocessing::Image {
        resize,
        interpolation: interpolation(config)?,
        crop_mode,
        crop,
        mean,
        std,
    })
}

/// The file that has transformers prepare images as a job does; `None` for what is no image.
///
/// transformers cuts out the middle of an odd rest one pixel further to the left or to the top than torchvision in every other case, and its resize of the
/// backend `torchvision` may round a level otherwise than Pillow's.
pub fn preprocessor_config(preprocessing: &Preprocessing) -> Option<Value> {
    let Preprocessing::Image {
        resize,
        interpolation,
        crop_mode,
        crop,
        mean,
        std,
    } = preprocessing
    else {
        return None;
    };
    let square = |side: &u32| json!({"height": side, "width": side});
    let (processor, size, crops) = match crop_mode {
        CropMode::Squash if resize == crop => ("ViTImageProcessor", square(resize), false),
        CropMode::Squash => ("DeiTImageProcessor", square(resize), true),
        CropMode::Center => ("BitImageProcessor", json!({"shortest_edge": resize}), true),
    };
    let mut config = json!({
        "image_processor_type": processor,
        "do_convert_rgb": true,
        "do_resize": true,
        "size": size,
        "resample": filter(*interpolation),
        "do_center_crop": crops,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": mean,
        "image_std": std,
    });
    if crops {
        config["crop_size"] = square(crop);
    }
    Some(config)
}

/// Both sides get the size, whatever the image's proportions.
fn squashed(config: &Value) -> Result<(u32, CropMode, u32), String> {
    must(config, "do_center_crop", false)?;
    let size = square(config, "size")?;
    Ok((size, CropMode::Squash, size))
}

/// The shorter side gets the size over the percentage, and the middle of the size is cut out; large images are squashed.
fn by_percentage(config: &Value) -> Result<(u32, CropMode, u32), String> {
    let size = match config["size"]["shortest_edge"].as_u64() {
        Some(size) => size,
        None => u64::from(square(config, "size")?),
    };
    let side = |size: u64| u32::try_from(size).map_err(|_| wrong(config, "size", "a number of pixels"));
    if size >= SQUASHED_FROM {
        return Ok((side(size)?, CropMode::Squash, side(size)?));
    }
    let percentage = match config.get("crop_pct").filter(|found| !found.is_null()) {
        None => 224.0 / 256.0,
        Some(found) => found
            .as_f64()
            .filter(|part| *part > 0.0 && *part <= 1.0)
            .ok_or_else(|| wrong(config, "crop_pct", "a number above 0 and at most 1"))?,
    };
    Ok((side((size as f64 / percentage) as u64)?, CropMode::Center, side(size)?))
}

/// The shorter side gets one size, and the middle of another is cut out.
fn cropped(config: &Value) -> Result<(u32, CropMode, u32), String> {
    must(config, "do_center_crop", true)?;
    let crop = square(config, "crop_size")?;
    let shortest = config["size"]["shortest_edge"]
        .as_u64()
        .or_else(|| config["size"].as_u64());
    match shortest.map(u32::try_from) {
        Some(Ok(resize)) => Ok((resize, CropMode::Center, crop)),
        _ => Ok((square(config, "size")?, CropMode::Squash, crop)),
    }
}

/// Refuses a switch that is there and stands otherwise.
fn must(config: &Value, field: &str, accepted: bool) -> Result<(), String> {
    match config[field].as_bool() {
        Some(found) if found != accepted => Err(wrong(config, field, &accepted.to_string())),
        _ => Ok(()),
    }
}

fn rescales_to_one(config: &Value) -> Result<(), String> {
    let factor = config["rescale_factor"].as_f64().unwrap_or(1.0 / 255.0);
    match (factor * 255.0 - 1.0).abs() < 1e-9 {
        true => Ok(()),
        false => Err(wrong(config, "rescale_factor", "1/255")),
    }
}

/// A side of pixels, given as one number or as height and width.
fn square(config: &Value, field: &str) -> Result<u32, String> {
    let size = &config[field];
    let side = match (size.as_u64(), size["height"].as_u64(), size["width"].as_u64()) {
        (Some(side), _, _) => Some(side),
        (None, Some(height), Some(width)) if height == width => Some(height),
        _ => None,
    };
    let side = side.and_then(|side| u32::try_from(side).ok());
    side.ok_or_else(|| wrong(config, field, "`height` and `width` of a square"))
}

/// Pillow's number of a filter.
fn filter(interpolation: Interpolation) -> u64 {
    match interpolation {
        Interpolation::Bilinear => 2,
        Interpolation::Bicubic => 3,
    }
}

fn interpolation(config: &Value) -> Result<Interpolation, String> {
    let known = [Interpolation::Bilinear, Interpolation::Bicubic];
    let found = known.into_iter().find(|known| config["resample"] == filter(*known));
    found.ok_or_else(|| wrong(config, "resample", "2 (bilinear) or 3 (bicubic)"))
}

fn channels(config: &Value, field: &str) -> Result<[f64; 3], String> {
    let numbers = config[field].as_array().into_iter().flatten().map(Value::as_f64);
    let numbers: Option<Vec<f64>> = numbers.collect();
    let three = numbers.and_then(|numbers| numbers.try_into().ok());
    three.ok_or_else(|| wrong(config, field, "three numbers"))
}

fn wrong(config: &Value, field: &str, expected: &str) -> String {
    let found = match config.get(field) {
        None => "nothing".to_owned(),
        Some(found) => found.to_string(),
    };
    refused(PREPROCESSOR, field, expected, &found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(kind: &str, mut fields: Value) -> Value {
        for (field, value) in [
            ("image_processor_type", json!(kind)),
            ("resample", json!(3)),
            ("image_mean", json!([0.5, 0.5, 0.5])),
            ("image_std", json!([0.25, 0.25, 0.25])),
        ] {
            if fields.get(field).is_none() {
                fields[field] = value;
            }
        }
        fields
    }

    #[test]
    fn each_kind_of_processor_has_its_way_of_sizes() {
        for (config, expected) in [
            (
                with("ViTImageProcessor", json!({"size": {"height": 224, "width": 224}})),
                (224, CropMode::Squash, 224),
            ),
            (
                with("ViTImageProcessorFast", json!({"size": 32})),
                (32, CropMode::Squash, 32),
            ),
            (
                with(
                    "ConvNextImageProcessor",
                    json!({"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
                ),
                (256, CropMode::Center, 224),
            ),
            (
                with("ConvNextFeatureExtractor", json!({"size": 384, "crop_pct": 0.95})),
                (384, CropMode::Squash, 384),
            ),
            (
                with(
                    "BitImageProcessor",
                    json!({"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}),
                ),
                (256, CropMode::Center, 224),
            ),
            (
                with(
                    "DeiTImageProcessor",
                    json!({"size": {"height": 256, "width": 256}, "crop_size": 224}),
                ),
                (256, CropMode::Squash, 224),
            ),
        ] {
            let Ok(Preprocessing::Image {
                resize,
                crop_mode,
                crop,
                mean,
                interpolation,
                ..
            }) = preprocessing(&config)
            else {
                panic!("{config}: {:?}", preprocessing(&config));
            };
            assert_eq!((resize, crop_mode, crop), expected, "{config}");
            assert_eq!((mean, interpolation), ([0.5; 3], Interpolation::Bicubic));
        }
    }

    #[test]
    fn what_is_written_of_a_job_is_read_as_that_job() {
        for (resize, crop_mode, crop) in [
            (224, CropMode::Squash, 224),
            (256, CropMode::Squash, 224),
            (256, CropMode::Center, 224),
        ] {
            for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
                let job = Preprocessing::Image {
                    resize,
                    interpolation,
                    crop_mode,
                    crop,
                    mean: [0.1, 0.2, 0.3],
                    std: [0.4, 0.5, 0.6],
                };
                let written = preprocessor_config(&job).unwrap();
                assert_eq!(super::preprocessing(&written), Ok(job), "{written}");
            }
        }
        assert_eq!(preprocessor_config(&Preprocessing::Text { max_length: None }), None);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let vit = |fields: Value| with("ViTImageProcessor", fields);
        for (config, expected) in [
            (
                vit(json!({"do_resize": false})),
                "`do_resize`: expected true, found false",
            ),
            (
                vit(json!({"rescale_factor": 1.0})),
                "`rescale_factor`: expected 1/255, found 1.0",
            ),
            (
                vit(json!({"size": {"height": 224, "width": 448}})),
                "`size`: expected `height` and `width` of a square, found {\"height\":224,\"width\":448}",
            ),
            (
                vit(json!({"size": 224, "resample": 0})),
                "`resample`: expected 2 (bilinear) or 3 (bicubic), found 0",
            ),
            (
                vit(json!({"size": 224, "image_mean": [0.5]})),
                "`image_mean`: expected three numbers, found [0.5]",
            ),
            (
                vit(json!({"size": 224, "do_center_crop": true})),
                "`do_center_crop`: expected false, found true",
            ),
            (
                with(
                    "ConvNextImageProcessor",
                    json!({"size": {"shortest_edge": 224}, "crop_pct": 2}),
                ),
                "`crop_pct`: expected a number above 0 and at most 1, found 2",
            ),
            (
                with("DonutImageProcessor", json!({})),
                "`image_processor_type`: expected that of `ViT`, `ConvNext`, `Bit`, `CLIP` or `DeiT`, found `DonutImageProcessor`",
            ),
        ] {
            assert_eq!(preprocessing(&config), Err(format!("`{PREPROCESSOR}`: {expected}")));
        }
    }
}
