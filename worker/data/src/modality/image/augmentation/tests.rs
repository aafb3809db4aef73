//! Against torchvision: pixels of operations with given parameters, and the distribution of what is drawn. `tests/reference/augmentation.py` made the golden values.

#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use firn_core::random::{Purpose, Random};
use firn_core::spec::{
    AugmentationSpec, ColorJitterSpec, ErasedValue, Interpolation, PaddingMode, RandAugmentSpec, RandomErasingSpec,
    RandomResizedCropSpec, TrivialAugmentWideSpec, WarpInterpolation, Word,
};
use serde_json::Value;

use super::{affine, canvas::Canvas, color, crop, erasing, flip, grayscale, jitter, policy, rotation, sharpness, tone};
use crate::modality::image::cut::{Cut, Plan, resized};
use crate::modality::image::raster::Raster;
use crate::modality::image::resample::{Filter, First, resample};

fn golden() -> Value {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

fn cases(golden: &Value, name: &str) -> Vec<Value> {
    let cases = golden[name].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "{name}");
    cases
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers<const N: usize>(value: &Value) -> [f64; N] {
    std::array::from_fn(|place| number(&value[place]))
}

/// The picture of that name in the script.
fn picture(width: usize, height: usize, seed: u64) -> Raster {
    let (mut state, mut raster) = (seed, Raster::new(width, height));
    for (place, pixel) in raster.pixels.iter_mut().enumerate() {
        let (y, x) = (place / width, place % width);
        for (channel, level) in pixel.iter_mut().take(3).enumerate() {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let wave = (x * (channel + 3) * 5 + y * (7 - channel) * 4) % 256;
            let noisy = (wave * 3 + (state >> 56) as usize) / 4;
            *level = if (x / 4 + y / 4) % 5 > 0 { noisy } else { wave } as u8;
        }
        if y < height / 4 && x < width / 4 {
            *pixel = [pixel[0], pixel[0], pixel[0], 0];
        }
    }
    raster
}

fn bytes(raster: &Raster) -> Vec<u8> {
    raster
        .pixels
        .iter()
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

/// Of RFC 4648.
fn decoded(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    let quads = letters.chunks(4).flat_map(|quad| {
        let bits = quad
            .iter()
            .enumerate()
            .map(|(place, six)| u32::from(*six) << (18 - 6 * place))
            .sum::<u32>();
        bits.to_be_bytes()[1..]
            .iter()
            .copied()
            .take(quad.len() - 1)
            .collect::<Vec<u8>>()
    });
    quads.collect()
}

fn changed(case: &Value) -> Vec<u8> {
    let [width, height] = numbers::<2>(&case["size"]).map(|side| side as usize);
    let mut spare = Vec::new();
    let mut canvas = Canvas {
        raster: picture(width, height, case["seed"].as_u64().unwrap()),
        spare: &mut spare,
    };
    let by = number(&case["parameter"]);
    let how = match case["interpolation"].as_str().unwrap() {
        "nearest" => WarpInterpolation::Nearest,
        _ => WarpInterpolation::Bilinear,
    };
    let image = &mut canvas;
    match case["operation"].as_str().unwrap() {
        "left_to_right" => flip::left_to_right(image),
        "top_to_bottom" => flip::top_to_bottom(image),
        "brightness" => color::brightness(image, by),
        "contrast" => color::contrast(image, by),
        "saturation" => color::saturation(image, by),
        "sharpness" => sharpness::sharpness(image, by),
        "hue" => color::hue(image, by),
        "grayscale" => grayscale::grayscale(image),
        "posterize" => tone::posterize(image, by as u32),
        "solarize" => tone::solarize(image, by),
        "autocontrast" => tone::autocontrast(image),
        "equalize" => tone::equalize(image),
        "rotate" => rotation::rotate(image, by, how),
        "shear_x" => affine::warp(image, &affine::shear_x(by), how),
        "shear_y" => affine::warp(image, &affine::shear_y(by), how),
        "translate_x" => affine::warp(image, &affine::translation(by as i64, 0), how),
        "translate_y" => affine::warp(image, &affine::translation(0, by as i64), how),
        other => panic!("{other} has no line here"),
    }
    bytes(&canvas.raster)
}

#[test]
fn pixels_are_those_of_torchvision_on_pil_images() {
    let golden = golden();
    let (mut wrong, mut moved) = (Vec::new(), 0);
    let cases = cases(&golden, "pixels");
    for case in &cases {
        let (ours, theirs) = (changed(case), decoded(case["pixels"].as_str().unwrap()));
        assert_eq!(ours.len(), theirs.len());
        let largest = ours
            .iter()
            .zip(&theirs)
            .map(|(ours, theirs)| ours.abs_diff(*theirs))
            .max();
        if largest > Some(0) {
            let count = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).count();
            wrong.push(format!(
                "{} by {} ({}): {count} of {} bytes differ, by up to {largest:?}",
                case["operation"],
                case["parameter"],
                case["interpolation"],
                ours.len()
            ));
        }
        let [width, height] = numbers::<2>(&case["size"]).map(|side| side as usize);
        moved += usize::from(theirs != bytes(&picture(width, height, case["seed"].as_u64().unwrap())));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    assert!(
        cases.len() >= 80 && moved * 10 > cases.len() * 8,
        "{moved} of {} change anything",
        cases.len()
    );
}

/// What the network sees of a whole image.
fn made(image: Raster, plan: &Plan) -> Raster {
    let part = image.cut(plan.region());
    plan.laid_out(resample(part, &plan.across.axis, &plan.down.axis, plan.first))
}

#[test]
fn parts_are_resized_as_torchvision_resizes_them() {
    for case in cases(&golden(), "crops") {
        let [left, top, width, height] = numbers::<4>(&case["part"]).map(|side| side as usize);
        let size = number(&case["size"]) as usize;
        let filter = match Interpolation::from_word(case["interpolation"].as_str().unwrap()).unwrap() {
            Interpolation::Bilinear => Filter::TRIANGLE,
            Interpolation::Bicubic => Filter::CUBIC,
        };
        let plan = Plan {
            across: Cut::part([left, width], size, filter),
            down: Cut::part([top, height], size, filter),
            first: First::of([width, size], [height, size]),
        };
        let ours = bytes(&made(picture(40, 31, 1), &plan));
        assert!(ours == decoded(case["pixels"].as_str().unwrap()), "{}", case["part"]);
    }
}

#[test]
fn cuts_of_resized_and_padded_images_are_those_of_torchvision() {
    for case in cases(&golden(), "padded") {
        let size = numbers::<2>(&case["size"]).map(|side| side as usize);
        let [left, top] = numbers::<2>(&case["start"]).map(|place| place as i64);
        let crop = number(&case["crop"]) as usize;
        let mode: PaddingMode = serde_json::from_value(case["mode"].clone()).unwrap();
        let [width, height] = size;
        let [resized_width, resized_height] = resized(size, number(&case["resize"]) as usize);
        let plan = Plan {
            across: Cut::moved([width, resized_width], (left, mode), crop, Filter::TRIANGLE),
            down: Cut::moved([height, resized_height], (top, mode), crop, Filter::TRIANGLE),
            first: First::of([width, resized_width], [height, resized_height]),
        };
        let ours = made(picture(width, height, 2), &plan);
        assert_eq!([ours.width, ours.height], [crop; 2]);
        assert!(
            bytes(&ours) == decoded(case["pixels"].as_str().unwrap()),
            "{size:?} from {left}, {top}: {mode:?}"
        );
    }
}

fn nothing() -> AugmentationSpec {
    AugmentationSpec {
        random_resized_crop: None,
        random_crop: None,
        horizontal_flip: 0.0,
        vertical_flip: 0.0,
        rotation: 0.0,
        rand_augment: None,
        trivial_augment_wide: None,
        color_jitter: None,
        grayscale: 0.0,
        random_erasing: None,
        interpolation: WarpInterpolation::Nearest,
    }
}

/// How often each parameter is drawn here.
const DRAWS: u64 = 20_000;

/// The stream of a sample, as a job draws from it.
fn random(sample: u64) -> Random {
    Random::within(3, Purpose::Augmentation, 1, &[sample, 0])
}

/// Our draws of the parameters of a case, one after the other.
fn drawn(case: &Value) -> Vec<Vec<f64>> {
    let pair = |name: &str| numbers::<2>(&case[name]);
    let size = |case: &Value| numbers::<2>(&case["size"]).map(|side| side as usize);
    match case["operation"].as_str().unwrap() {
        "crop" => {
            let (scale, ratio) = (pair("scale"), pair("ratio"));
            let crop = crop::RandomResizedCrop::new(RandomResizedCropSpec { scale, ratio });
            let draw = |sample| {
                let region = crop.draw(&mut random(sample), size(case));
                [region.left, region.top, region.width, region.height]
                    .map(|side| side as f64)
                    .to_vec()
            };
            (0..DRAWS).map(draw).collect()
        }
        "padded_crop" => {
            let (padding, crop) = (number(&case["padding"]), number(&case["crop"]) as usize);
            let draw = |sample| crop::start(&mut random(sample), padding as u32, size(case), crop);
            let of_padded = |start: [i64; 2]| start.map(|place| place as f64 + padding).to_vec();
            (0..DRAWS).map(draw).map(of_padded).collect()
        }
        "erasing" => {
            let spec = RandomErasingSpec {
                probability: number(&case["probability"]),
                scale: pair("scale"),
                ratio: pair("ratio"),
                value: ErasedValue::Zero,
            };
            let erasing = erasing::Erasing::new(spec, &[0.5; 3], &[0.5; 3]);
            let draw = |sample| match erasing.draw(&mut random(sample), size(case)) {
                Some(region) => [1, region.left, region.top, region.width, region.height]
                    .map(|side| side as f64)
                    .to_vec(),
                None => vec![0.0, -1.0, -1.0, -1.0, -1.0],
            };
            (0..DRAWS).map(draw).collect()
        }
        "jitter" => {
            let [brightness, contrast, saturation, hue] = numbers(&case["settings"]);
            let spec = ColorJitterSpec {
                brightness,
                contrast,
                saturation,
                hue,
            };
            (0..DRAWS)
                .map(|sample| jitter::tests::draw(&spec, &mut random(sample)).to_vec())
                .collect()
        }
        "rotation" => {
            let degrees = number(&case["degrees"]);
            (0..DRAWS)
                .map(|sample| vec![random(sample).uniform([-degrees, degrees])])
                .collect()
        }
        name => policy_draws(name, case)
            .iter()
            .map(|(_, strength)| vec![*strength])
            .collect(),
    }
}

fn policy_draws(name: &str, case: &Value) -> Vec<(usize, f64)> {
    let spec = AugmentationSpec {
        rand_augment: (name == "rand_augment").then_some(RandAugmentSpec {
            num_ops: 2,
            magnitude: 9,
            num_magnitude_bins: 31,
        }),
        trivial_augment_wide: Some(TrivialAugmentWideSpec { num_magnitude_bins: 31 }),
        ..nothing()
    };
    let side = number(&case["side"]) as usize;
    (0..DRAWS)
        .flat_map(|sample| policy::tests::draw(&spec, &mut random(sample), side))
        .collect()
}

/// The largest distance between two distributions that one in a thousand pairs of samples of the same one exceeds (Kolmogorov & Smirnov).
fn critical(ours: usize, theirs: usize) -> f64 {
    let (ours, theirs) = (ours as f64, theirs as f64);
    1.95 * ((ours + theirs) / (ours * theirs)).sqrt()
}

#[test]
fn parameters_are_distributed_as_torchvisions() {
    let golden = golden();
    let theirs = golden["draws"].as_u64().unwrap() as usize;
    for case in cases(&golden, "drawn") {
        let draws = drawn(&case);
        for (place, column) in case["columns"].as_array().unwrap().iter().enumerate() {
            let distance = column.as_array().unwrap().iter().map(|at| {
                let [value, share] = numbers(at);
                let below = draws.iter().filter(|draw| draw[place] <= value + 5e-6).count();
                (below as f64 / draws.len() as f64 - share).abs()
            });
            let distance = distance.fold(0.0, f64::max);
            println!("{} {place}: {distance:.4}", case["operation"]);
            assert!(
                distance < critical(draws.len(), theirs),
                "{}, parameter {place}: the distributions are {distance} apart",
                case["operation"]
            );
        }
    }
}

#[test]
fn policies_take_each_operation_as_often_as_torchvisions() {
    for case in cases(&golden(), "drawn")
        .iter()
        .filter(|case| case["counts"].is_array())
    {
        let draws = policy_draws(case["operation"].as_str().unwrap(), case);
        let counts: Vec<f64> = case["counts"].as_array().unwrap().iter().map(number).collect();
        let all = counts.iter().sum::<f64>();
        let square = counts.iter().enumerate().map(|(entry, theirs)| {
            let ours = draws.iter().filter(|(place, _)| *place == entry).count() as f64;
            // Pearson's, of two samples of different sizes.
            let scale = (all / draws.len() as f64).sqrt();
            (ours * scale - theirs / scale).powi(2) / (ours + theirs)
        });
        // One in a thousand exceeds this at 13 degrees of freedom.
        assert!(square.sum::<f64>() < 34.53, "{}", case["operation"]);
    }
}

#[test]
fn strengths_are_those_of_torchvision_at_every_step() {
    for case in cases(&golden(), "magnitudes") {
        let (bins, side) = (number(&case["bins"]) as u32, number(&case["side"]) as usize);
        let entry = number(&case["entry"]) as usize;
        let (strengths, is_signed) = policy::tests::strengths(entry, case["policy"] == "wide", bins, side);
        assert_eq!(case["signed"], is_signed, "{case}");
        match case["values"].as_array() {
            None => assert!(strengths.iter().all(|strength| *strength == 0.0), "{case}"),
            Some(values) => assert_eq!(strengths, values.iter().map(number).collect::<Vec<f64>>(), "{case}"),
        }
    }
}

#[test]
fn what_is_erased_is_zero_or_normal_and_the_rest_is_normalised() {
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let spec = |value| RandomErasingSpec {
        probability: 1.0,
        scale: [0.3, 0.4],
        ratio: [0.9, 1.1],
        value,
    };
    let raster = picture(40, 40, 9);
    let plain: Vec<f32> = bytes(&raster)
        .iter()
        .enumerate()
        .map(|(place, level)| (f32::from(*level) / 255.0 - mean[place % 3] as f32) / std[place % 3] as f32)
        .collect();
    let numbers = |value, sample| erasing::Erasing::new(spec(value), &mean, &std).numbers(&mut random(sample), &raster);
    let (zero, noise) = (numbers(ErasedValue::Zero, 1), numbers(ErasedValue::Random, 1));
    let erased: Vec<usize> = (0..plain.len())
        .filter(|place| noise[*place] != plain[*place])
        .collect();
    let part = erased.len() as f64 / plain.len() as f64;
    assert!((0.25..0.45).contains(&part), "{part} of the image is erased");
    for place in 0..plain.len() {
        let expected = if erased.contains(&place) { 0.0 } else { plain[place] };
        assert_eq!(zero[place].to_bits(), expected.to_bits(), "{place}");
    }
    let drawn = erased.iter().map(|place| f64::from(noise[*place]));
    let count = erased.len() as f64;
    let (sum, squares) = drawn.fold((0.0, 0.0), |(sum, squares), number| {
        (sum + number, squares + number * number)
    });
    assert!((sum / count).abs() < 4.0 / count.sqrt(), "mean {}", sum / count);
    assert!(
        (squares / count - 1.0).abs() < 4.0 * (2.0 / count).sqrt(),
        "variance {}",
        squares / count
    );
}
