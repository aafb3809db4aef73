//! Folders of images, one for each class.

use super::{Case, Format, VALIDATION, Validation};

/// Two classes with an image each (their bytes are not looked at when a dataset is indexed).
macro_rules! two_classes {
    ($($more:expr),* $(,)?) => { &[("train/ants/a.jpg", b"x"), ("train/bees/b.jpg", b"y"), $($more),*] };
}

pub(crate) const FOLDERS: &[Case] = &[
    Case {
        name: "a missing folder",
        files: &[],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train does not exist on this worker",
    },
    Case {
        name: "a file instead of a folder",
        files: &[("train", b"x")],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train is a file; format imagefolder expects a folder that holds one folder for each class",
    },
    Case {
        name: "an empty folder",
        files: &[("train/", b"")],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train holds no class folders, expected one folder for each class",
    },
    Case {
        name: "images without class folders",
        files: &[
            ("train/a.jpg", b"x"),
            ("train/b.PNG", b"x"),
            ("train/.hidden/c.jpg", b"x"),
        ],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train holds no class folders, expected one folder for each class; found 2 images directly in it",
    },
    Case {
        name: "a class without images",
        files: two_classes![("train/wasps/readme.txt", b"x")],
        format: Format::Folder,
        validation: None,
        message: "train: class `wasps` has no samples: {}/train/wasps holds no images (.jpg, .jpeg, .png, .bmp, .ppm, .pgm, .webp)",
    },
    Case {
        name: "a class of images that are not read",
        files: two_classes![
            ("train/wasps/IMG_1.HEIC", b"x"),
            ("train/wasps/in/2.heic", b"x"),
            ("train/bees/n.txt", b"x")
        ],
        format: Format::Folder,
        validation: None,
        message: "train: class `wasps` has no samples: {}/train/wasps holds no images (.jpg, .jpeg, .png, .bmp, .ppm, .pgm, .webp); \
                  2 HEIC images, a format that is not read: convert to JPEG or PNG; the first is wasps/IMG_1.HEIC",
    },
    Case {
        name: "one class",
        files: &[("train/ants/a.jpg", b"x")],
        format: Format::Folder,
        validation: None,
        message: "train: {}/train has one class, `ants`; a classifier needs at least two",
    },
    Case {
        name: "a class that only validation has",
        files: two_classes![
            ("val/ants/c.jpg", b"x"),
            ("val/wasps/d.jpg", b"x"),
            ("val/wasps/e.jpg", b"x")
        ],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: class `wasps` is not among the 2 classes of train (`ants`, `bees`); first seen at wasps/d.jpg",
    },
    Case {
        name: "a class of validation that looks like one of train",
        files: two_classes![("val/ants /c.jpg", b"x")],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: class `ants ` is not among the 2 classes of train (`ants`, `bees`); first seen at ants /c.jpg; it looks like \
                  `ants` of train: U+0020 here, nothing there",
    },
    Case {
        name: "a missing validation folder",
        files: two_classes![],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: {}/val does not exist on this worker",
    },
    Case {
        name: "a validation split without images",
        files: two_classes![("val/ants/notes.txt", b"x"), ("val/bees/Thumbs.db", b"x")],
        format: Format::Folder,
        validation: VALIDATION,
        message: "validation: {}/val holds no samples; ignored 2 files that are not an image by extension or not in a class folder, \
                  the first is ants/notes.txt",
    },
    Case {
        name: "a fraction of classes with one image each",
        files: two_classes![],
        format: Format::Folder,
        validation: Some(Validation::Fraction(0.2)),
        message: "validation: a fraction of 0.2 of train's 2 samples is empty: no class has the two samples that a split needs",
    },
];
