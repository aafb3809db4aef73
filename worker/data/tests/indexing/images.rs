//! Folders and tables of images, and their names.

use std::fs;

use firn_core::compatibility::DataRules;
use firn_core::spec::{DataFormat, RowLayout};
use firn_data::{Source, index, index_by};

use super::{csv, ids, spec, write};

#[test]
fn an_image_folder_is_listed_as_torchvision_lists_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let names = [
        "b/z.jpg",
        "b/deep/er/a.PNG",
        "b/deep/z.jpeg",
        "b/a.JPG",
        "B/1.jpg",
        "a/.hidden.jpg",
        "a/2.jpg",
        "a/10.jpg",
        "a/x.txt",
        "c.jpg",
    ];
    for name in names {
        write(root, &format!("train/{name}"), name.as_bytes());
    }
    let dataset = index(&spec(root, DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(dataset.classes, ["B", "a", "b"]);
    assert_eq!(
        ids(&dataset.train),
        [
            "B/1.jpg",
            "a/10.jpg",
            "a/2.jpg",
            "b/a.JPG",
            "b/z.jpg",
            "b/deep/z.jpeg",
            "b/deep/er/a.PNG"
        ]
    );
    assert_eq!(dataset.train.class_counts(3), [1, 2, 4]);
    assert_eq!(
        dataset.warnings,
        [
            "train: ignored 2 files that are not an image by extension or not in a class folder, the first is c.jpg",
            "train: `B` and `b` look alike and are two classes: `B` U+0042 in the first, `b` U+0062 in the second",
        ]
    );
}

#[test]
fn names_that_are_not_utf_8_stay_distinct() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    for split in ["train", "val"] {
        for class in [&b"caf\xe8"[..], b"caf\xe9"] {
            let class = folder.path().join(split).join(name(class));
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join(name(b"1\xff.jpg")), b"x").unwrap();
            fs::write(class.join(name(b"1\xfe.jpg")), b"y").unwrap();
        }
    }
    let dataset = index(&spec(folder.path(), DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(dataset.classes, ["caf\\xE8", "caf\\xE9"]);
    for split in [&dataset.train, dataset.validation.as_ref().unwrap()] {
        assert_eq!(
            ids(split),
            [
                "caf\\xE8/1\\xFE.jpg",
                "caf\\xE8/1\\xFF.jpg",
                "caf\\xE9/1\\xFE.jpg",
                "caf\\xE9/1\\xFF.jpg"
            ]
        );
    }
    fs::write(
        folder.path().join("train").join(name(b"caf\xe8")).join("1\\xFF.jpg"),
        b"z",
    )
    .unwrap();
    let error = index(&spec(folder.path(), DataFormat::ImageFolder), 0).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("are both shown as caf\\xE8/1\\xFF.jpg, because the name of one is not UTF-8; rename one")
    );
}

/// As the program wrote them that is older than both: a rank that comes later has to find the same samples.
#[test]
fn a_job_of_the_first_program_keeps_the_ids_that_its_samples_had() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| std::ffi::OsStr::from_bytes(bytes).to_owned();
    for split in ["train", "val"] {
        for class in [&b"caf\xe9"[..], b"tea"] {
            let class = folder.path().join(split).join(name(class));
            fs::create_dir_all(&class).unwrap();
            fs::write(class.join(name(b"1\xff.jpg")), b"x").unwrap();
        }
    }
    let images = index_by(DataRules::First, &spec(folder.path(), DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(images.classes, ["caf\u{fffd}", "tea"]);
    assert_eq!(ids(&images.train), ["caf\u{fffd}/1\u{fffd}.jpg", "tea/1\u{fffd}.jpg"]);

    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "train", b"text,label\ra,0\rb,1\r");
    let rows = |rules| index_by(rules, &spec(folder.path(), csv()), 0).unwrap().train;
    assert_eq!(ids(&rows(DataRules::First)), ["train:1", "train:1"]);
    assert_eq!(ids(&rows(DataRules::Current)), ["train:2", "train:3"]);
}

#[test]
fn what_macos_adds_and_images_that_are_not_read_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let names = [
        "train/a/1.jpg",
        "train/b/1.jpg",
        "train/b/2.avif",
        "train/__MACOSX/a/1.jpg",
        "val/a/2.jpg",
        "val/b/3.jpg",
        "val/b/__MACOSX/4.jpg",
        "val/b/5.HEIC",
        "val/b/6.heic",
    ];
    for name in names {
        write(folder.path(), name, name.as_bytes());
    }
    let dataset = index(&spec(folder.path(), DataFormat::ImageFolder), 0).unwrap();
    assert_eq!(
        (dataset.classes, dataset.train.len()),
        (vec!["a".to_owned(), "b".to_owned()], 2)
    );
    assert_eq!(
        dataset.warnings,
        [
            "train: ignored 1 file that is not an image by extension or not in a class folder, the first is b/2.avif",
            "train: 1 AVIF image, a format that is not read: convert to JPEG or PNG; the first is b/2.avif",
            "train: passed over __MACOSX, which macOS adds to archives",
            "validation: ignored 2 files that are not an image by extension or not in a class folder, the first is b/5.HEIC",
            "validation: 2 HEIC images, a format that is not read: convert to JPEG or PNG; the first is b/5.HEIC",
            "validation: passed over __MACOSX, which macOS adds to archives",
        ]
    );
}

/// Three images, one of them twice, by a path relative to the table, an absolute one, a URI, and one that leads out of the folder.
#[test]
fn a_table_of_image_paths_lists_its_rows_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    for (name, bytes) in [("b 1.jpg", "b"), ("in/a.jpg", "aa"), ("in/c.jpg", "ccc")] {
        write(&root, name, bytes.as_bytes());
    }
    let (absolute, uri) = (root.join("in/c.jpg"), format!("file://{}/b%201.jpg", root.display()));
    let paths = ["../b 1.jpg", "a.jpg", absolute.to_str().unwrap(), &uri];
    let labels = ["cat", "dog", "cat", "dog"];
    let table: String = paths
        .iter()
        .zip(labels)
        .map(|(path, label)| format!("{path}\t{label}\n"))
        .collect();
    write(&root, "in/train", format!("picture\tlabel\n{table}").as_bytes());
    let lines: String = paths
        .iter()
        .zip(labels)
        .map(|(path, label)| format!("{{\"picture\": \"{path}\", \"label\": \"{label}\"}}\n"))
        .collect();
    write(&root, "elsewhere/train", lines.as_bytes());
    let images = |rows, root| DataFormat::images(rows, "picture", "label", root);
    let tabs = RowLayout::Delimited {
        delimiter: '\t',
        quoted: false,
    };
    let of_lines = images(RowLayout::JsonLines, Some(root.join("in").to_str().unwrap().to_owned()));
    for (place, format, first_line) in [("in", images(tabs, None), 2), ("elsewhere", of_lines, 1)] {
        let dataset = index(&spec(&root.join(place), format), 0).unwrap();
        assert_eq!(dataset.classes, ["cat", "dog"]);
        let expected = [("b 1.jpg", 1), ("in/a.jpg", 2), ("in/c.jpg", 3), ("b 1.jpg", 1)];
        for (sample, ((name, bytes), line)) in dataset.train.samples.iter().zip(expected.into_iter().zip(first_line..))
        {
            assert_eq!(sample.id, format!("train:{line}"));
            let Source::File { path, size } = &sample.source else {
                panic!("{} is no file", sample.id)
            };
            assert_eq!(
                (path.canonicalize().unwrap(), *size),
                (root.join(name), bytes),
                "{place}"
            );
        }
        assert_eq!(dataset.train.len(), 4);
    }
    let again = format!("picture\tlabel\n{table}a.jpg\tdog\nc.jpg\tdog\n");
    write(&root, "in/train", again.as_bytes());
    let dataset = index(&spec(&root.join("in"), images(tabs, None)), 0).unwrap();
    assert_eq!(
        dataset.warnings,
        [
            "train: 2 of 6 samples name an image that another one names, 1 with another label; the first is train:6 = train:3"
        ]
    );
}
