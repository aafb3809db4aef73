//! Files of a folder that give no sample, and what a person is told of them. An image of a format that is not read is named as such: it
//! was meant to be a sample.

use std::collections::BTreeMap;
use std::path::Path;

/// Endings of images that are not read.
const UNREAD: [(&str, &str); 14] = [
    ("heic", "HEIC"),
    ("heif", "HEIC"),
    ("hif", "HEIC"),
    ("avif", "AVIF"),
    ("gif", "GIF"),
    ("tif", "TIFF"),
    ("tiff", "TIFF"),
    ("jxl", "JPEG XL"),
    ("jp2", "JPEG 2000"),
    ("j2k", "JPEG 2000"),
    ("psd", "Photoshop"),
    ("svg", "SVG"),
    ("dng", "raw camera"),
    ("nef", "raw camera"),
];

#[derive(Default)]
pub(super) struct PassedOver {
    count: usize,
    first: Option<String>,
    /// By format: how many, and the first.
    unread: BTreeMap<&'static str, (usize, String)>,
    /// Whether an archive was packed by macOS, whose folder of copies holds no image.
    pub(super) of_macos: bool,
}

impl PassedOver {
    pub(super) fn add(&mut self, path: &Path, name: String) {
        self.count += 1;
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if let Some((_, format)) = UNREAD.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)) {
            let of_format = self.unread.entry(format).or_insert_with(|| (0, name.clone()));
            of_format.0 += 1;
        }
        self.first.get_or_insert(name);
    }

    /// Adds what was found elsewhere.
    pub(super) fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
        for (format, (count, first)) in other.unread {
            self.unread.entry(format).or_insert((0, first)).0 += count;
        }
        self.of_macos |= other.of_macos;
    }

    /// A sentence on each format that is not read.
    pub(super) fn unread(&self) -> impl Iterator<Item = String> {
        self.unread.iter().map(|(format, (count, first))| {
            let images = if *count == 1 { "image" } else { "images" };
            format!(
                "{count} {format} {images}, a format that is not read: convert to JPEG or PNG; the first is {first}"
            )
        })
    }

    /// For the warnings, and for the message on a split without samples.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let Some(first) = &self.first {
            let files = match self.count {
                1 => "1 file that is".to_owned(),
                many => format!("{many} files that are"),
            };
            sentences.push(format!(
                "ignored {files} not an image by extension or not in a class folder, the first is {first}"
            ));
        }
        sentences.extend(self.unread());
        if self.of_macos {
            sentences.push("passed over __MACOSX, which macOS adds to archives".to_owned());
        }
        sentences
    }
}
