//! Batches arrive whole, in order, and end when they should, whatever the threads do.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use firn_core::order::Turn;
use firn_core::spec::{AugmentationSpec, CropMode, Interpolation, Preprocessing};
use firn_data::{
    Batch, Loader, LoaderOptions, Preprocessor, RawTensor, Sample, Source, Split, SplitName, Target, Targets, Tensors,
    TextLimits, TrainingEpoch, Values,
};
use proptest::prelude::*;
use serde_json::json;

fn fixtures(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn texts(count: u32) -> Arc<Split> {
    let text = |i: u32| "film good bad ".repeat(1 + (i as usize * 7) % 5);
    let sample = |i: u32| Sample {
        id: format!("t:{i}"),
        target: Target::Class(i % 3),
        source: Source::Text(text(i)),
    };
    Arc::new(Split {
        name: SplitName::Train,
        samples: (0..count).map(sample).collect(),
    })
}

fn tokens() -> Arc<Preprocessor> {
    let path = fixtures("tokens/tiny.json");
    Arc::new(
        Preprocessor::new(
            &Preprocessing::Text { max_length: None },
            Some(&path),
            TextLimits::default(),
        )
        .unwrap(),
    )
}

fn small_images() -> Arc<Preprocessor> {
    changed_images(None)
}

fn changed_images(augmentation: Option<&AugmentationSpec>) -> Arc<Preprocessor> {
    let preprocessing = Preprocessing::Image {
        resize: 16,
        interpolation: Interpolation::Bilinear,
        crop_mode: CropMode::Center,
        crop: 12,
        mean: [0.5; 3],
        std: [0.5; 3],
    };
    Arc::new(Preprocessor::augmented(&preprocessing, augmentation, None, TextLimits::default()).unwrap())
}

fn options(threads: usize, batches_ahead: usize) -> LoaderOptions {
    LoaderOptions {
        threads,
        batches_ahead,
        training: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn threads_change_nothing(plan in prop::collection::vec(prop::collection::vec(0u64..50, 0..40), 0..12), threads in 1usize..5, ahead in 1usize..4) {
        let split = texts(50);
        let run = |threads| Loader::start(Arc::clone(&split), tokens(), plan.clone().into_iter(), options(threads, ahead)).collect::<Vec<Batch>>();
        let inline = run(0);
        prop_assert_eq!(&run(threads), &inline);
        prop_assert_eq!(inline.iter().map(|batch| batch.indices.clone()).collect::<Vec<_>>(), plan.clone());
    }
}

#[test]
fn labels_follow_indices_and_an_empty_entry_gives_an_empty_batch() {
    let plan = vec![vec![5, 1, 3], vec![], vec![4]];
    let batches: Vec<Batch> = Loader::start(texts(6), tokens(), plan.into_iter(), options(2, 2)).collect();
    assert_eq!(
        batches.iter().map(|batch| batch.targets.clone()).collect::<Vec<_>>(),
        [vec![2, 1, 0], vec![], vec![1]].map(Targets::Classes)
    );
    assert_eq!(
        batches[1].tensors,
        Tensors {
            samples: 0,
            arrays: ["ids", "mask"]
                .map(|name| RawTensor {
                    name,
                    shape: vec![0],
                    values: Values::Integers(vec![])
                })
                .into(),
        }
    );
}

/// Positions 0 and 4 hold the same good picture, the others none.
fn partly_corrupt(folder: &Path) -> Arc<Split> {
    let good = fs::read(fixtures("images/odd_420_baseline.jpg")).unwrap();
    let contents: [(&str, &[u8]); 5] = [
        ("good.jpg", &good),
        ("empty.jpg", b""),
        ("cut.jpg", &good[..good.len() * 2 / 3]),
        ("text.jpg", b"hello"),
        ("again.jpg", &good),
    ];
    let sample = |(name, bytes): (&str, &[u8])| {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        Sample {
            id: name.to_owned(),
            target: Target::Class(7),
            source: Source::File {
                path,
                size: bytes.len() as u64,
            },
        }
    };
    Arc::new(Split {
        name: SplitName::Train,
        samples: contents.into_iter().map(sample).collect(),
    })
}

#[test]
fn corrupt_samples_are_listed_and_the_others_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let split = partly_corrupt(folder.path());
    for threads in [0, 3] {
        let plan = vec![vec![0, 1, 2, 3, 4], vec![1, 3]];
        let mut loader = Loader::start(
            Arc::clone(&split),
            small_images(),
            plan.into_iter(),
            options(threads, 2),
        );
        let batch = loader.next().unwrap();
        assert_eq!(
            (batch.indices, batch.targets),
            (vec![0, 4], Targets::Classes(vec![7, 7]))
        );
        let [
            RawTensor {
                name: "pixels",
                shape,
                values: Values::Bytes(pixels),
            },
        ] = &batch.tensors.arrays[..]
        else {
            panic!("one array of pixels")
        };
        assert_eq!(shape[..], [12, 12, 3]);
        assert_eq!(pixels.len(), 2 * 12 * 12 * 3);
        assert_eq!(pixels[..432], pixels[432..], "both are the same picture");
        let corrupt: Vec<(u64, &str)> = batch
            .corrupt
            .iter()
            .map(|sample| (sample.index, sample.id.as_str()))
            .collect();
        assert_eq!(corrupt, [(1, "empty.jpg"), (2, "cut.jpg"), (3, "text.jpg")]);
        assert_eq!(batch.corrupt[0].reason, "the file is empty");
        let cut = &batch.corrupt[1].reason;
        assert!(
            cut.starts_with("damaged JPEG: its data breaks off or is damaged after "),
            "{cut}"
        );
        let all_corrupt = loader.next().unwrap();
        assert!(all_corrupt.indices.is_empty() && all_corrupt.corrupt.len() == 2);
        assert!(loader.next().is_none());
        assert!(loader.next().is_none(), "the end stays the end");
    }
}

/// Draws with replacement may bring a sample several times in an epoch.
#[test]
fn each_turn_of_a_sample_is_changed_in_its_own_way() {
    let spec = json!({"horizontalFlip": 0.0, "verticalFlip": 0.0, "rotation": 180.0, "grayscale": 0.0, "interpolation": "nearest"});
    let spec: AugmentationSpec = serde_json::from_value(spec).unwrap();
    let sample = Sample {
        id: "usual.jpg".to_owned(),
        target: Target::Class(0),
        source: Source::File {
            path: fixtures("images/usual.jpg"),
            size: 0,
        },
    };
    let split = Arc::new(Split {
        name: SplitName::Train,
        samples: vec![sample],
    });
    let turns = [0, 1, 0].map(|repeat| Turn { sample: 0, repeat });
    for threads in [0, 2] {
        let options = LoaderOptions {
            training: Some(TrainingEpoch { seed: 3, epoch: 1 }),
            ..options(threads, 1)
        };
        let plan = [turns.to_vec()].into_iter();
        let batch = Loader::start(Arc::clone(&split), changed_images(Some(&spec)), plan, options)
            .next()
            .unwrap();
        assert_eq!(
            (&batch.indices[..], &batch.turns[..]),
            (&[0, 0, 0][..], &turns.map(Turn::key)[..])
        );
        let Values::Bytes(pixels) = &batch.tensors.arrays[0].values else {
            panic!("pixels are bytes")
        };
        let [first, second, third] = [0, 1, 2].map(|row| &pixels[row * 432..(row + 1) * 432]);
        assert_ne!(first, second);
        assert_eq!(first, third);
    }
}

/// Every way to cut or change a file gives pixels or a reason, never a panic of the process and never a hang.
#[test]
fn damaged_files_never_stop_the_process() {
    let preprocessor = small_images();
    let names = [
        "odd_420_baseline.jpg",
        "odd_444_progressive.jpg",
        "restart.jpg",
        "cmyk.jpg",
        "palette.png",
        "lossy.webp",
        "rgb.bmp",
    ];
    let (mut refused, mut tried) = (0, 0);
    for name in names {
        let good = fs::read(fixtures("images").join(name)).unwrap();
        for step in 0..200usize {
            let mut bytes = good.clone();
            let place = step * 7919 % bytes.len();
            match step % 3 {
                0 => bytes.truncate(place),
                1 => bytes[place] ^= 1 << (step % 8),
                _ => bytes[place] = if step % 2 == 0 { 0xFF } else { 0 },
            }
            tried += 1;
            match preprocessor.crop_bytes(&bytes) {
                Ok(pixels) => assert_eq!(pixels.len(), 12 * 12 * 3),
                Err(reason) => {
                    refused += 1;
                    assert!(!reason.contains("panicked"), "{name}, change {step}: {reason}");
                }
            }
        }
    }
    assert!(refused > tried / 4, "{refused} of {tried} were refused");
}

/// Counts what is taken from it, so that a test can see how far ahead a loader goes.
struct Counted(Arc<AtomicUsize>);

impl Iterator for Counted {
    type Item = Vec<u64>;

    fn next(&mut self) -> Option<Vec<u64>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Some(vec![0, 1])
    }
}

#[test]
fn an_endless_plan_is_read_only_so_far_ahead_and_dropped_at_once() {
    let taken = Arc::new(AtomicUsize::new(0));
    let mut loader = Loader::start(texts(2), tokens(), Counted(Arc::clone(&taken)), options(2, 3));
    for _ in 0..20 {
        assert_eq!(loader.next().unwrap().indices, [0, 1]);
    }
    drop(loader);
    // 20 delivered, 3 waiting, and one that the planning thread holds.
    let taken_at_drop = taken.load(Ordering::SeqCst);
    assert!((20..=24).contains(&taken_at_drop), "{taken_at_drop} batches were begun");
    assert_eq!(Arc::strong_count(&taken), 1, "no thread is left");
}

#[test]
#[should_panic(expected = "the plan names sample 9 of 3")]
fn a_position_beyond_the_split_is_a_bug_that_the_consumer_sees() {
    let plan = vec![vec![0], vec![9]];
    Loader::start(texts(3), tokens(), plan.into_iter(), options(2, 1)).for_each(drop);
}

#[test]
#[should_panic(expected = "no more plan")]
fn a_panic_of_the_plan_reaches_the_consumer() {
    let plan = (0..).map(|i| if i < 2 { vec![0] } else { panic!("no more plan") });
    Loader::start(texts(3), tokens(), plan, options(2, 1)).for_each(drop);
}
