//! Image folders, listed as torchvision's `ImageFolder` does: one folder a class, folders within it walked, classes in name order and
//! files in the order of (folder, name). Hidden files and folders are passed over, and what macOS adds to archives.
//!
//! A name that is not UTF-8, as old archives have them, is shown with its odd bytes as `\\xE9`: two that differ only there stay two. The first
//! program showed a replacement character for them, and jobs that it began are read so to their end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;

use firn_core::compatibility::DataRules;
use walkdir::{DirEntry, WalkDir};

use super::passed_over::PassedOver;
use super::{EmptyClass, Listed, Listing, is_folder, unreadable};
use crate::{DataError, Sample, Source, Split, SplitName, Target};

/// What the decoder reads; without case.
const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "ppm", "pgm", "webp"];

pub(super) fn list(split: SplitName, root: &Path, rules: DataRules) -> Result<Listing, DataError> {
    if !is_folder(split, root)? {
        return Err(DataError::NotAFolder {
            split,
            path: root.to_owned(),
        });
    }
    let mut passed_over = PassedOver::default();
    let mut classes = Vec::new();
    let mut images_outside = 0;
    for entry in entries(root, 1, &mut passed_over)? {
        if entry.file_type().is_dir() {
            classes.push(entry);
        } else {
            images_outside += usize::from(is_image(&entry));
            passed_over.add(entry.path(), shown(entry.file_name(), rules));
        }
    }
    if classes.is_empty() {
        let hint = match images_outside {
            0 => String::new(),
            1 => "; found 1 image directly in it".to_owned(),
            many => format!("; found {many} images directly in it"),
        };
        return Err(DataError::NoClassFolders {
            split,
            path: root.to_owned(),
            hint,
        });
    }
    let mut samples = Vec::new();
    let mut empty_classes = Vec::new();
    for class in &classes {
        let name = shown(class.file_name(), rules);
        let before = samples.len();
        let mut within = PassedOver::default();
        list_class((root, class.path()), &name, rules, &mut samples, &mut within)?;
        if samples.len() == before {
            let unread = within.unread().map(|sentence| format!("; {sentence}")).collect();
            empty_classes.push(EmptyClass { name, unread });
        }
        passed_over.merge(within);
    }
    check_distinct(split, root, classes.iter().map(|class| shown(class.file_name(), rules)))?;
    check_distinct(split, root, samples.iter().map(|sample| sample.id.as_str()))?;
    Ok(Listing {
        split,
        path: root.to_owned(),
        empty_classes,
        samples,
        passed_over: passed_over.sentences(),
    })
}

fn list_class(
    (root, folder): (&Path, &Path),
    class: &str,
    rules: DataRules,
    samples: &mut Vec<Listed>,
    passed_over: &mut PassedOver,
) -> Result<(), DataError> {
    let mut found: Vec<(String, String, Listed)> = Vec::new();
    for entry in entries(folder, usize::MAX, passed_over)? {
        if entry.file_type().is_dir() {
            continue;
        }
        let relative = entry.path().strip_prefix(root).expect("the walk starts at the root");
        let id = shown(relative.as_os_str(), rules);
        if !is_image(&entry) {
            passed_over.add(entry.path(), id);
            continue;
        }
        let size = entry.metadata().map_err(|error| walk_error(folder, &error))?.len();
        let parent = relative
            .parent()
            .map_or(String::new(), |parent| shown(parent.as_os_str(), rules));
        let source = Source::File {
            path: entry.path().to_owned(),
            size,
        };
        found.push((
            parent,
            shown(entry.file_name(), rules),
            Listed {
                id,
                labels: vec![class.to_owned()],
                source,
            },
        ));
    }
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    samples.extend(found.into_iter().map(|(_, _, listed)| listed));
    Ok(())
}

/// What lies in a folder, in name order, links followed, hidden entries left out.
fn entries(folder: &Path, depth: usize, passed_over: &mut PassedOver) -> Result<Vec<DirEntry>, DataError> {
    let walk = WalkDir::new(folder)
        .min_depth(1)
        .max_depth(depth)
        .follow_links(true)
        .sort_by_file_name();
    let visible = walk.into_iter().filter_entry(|entry| {
        let of_macos = entry.depth() > 0 && entry.file_name() == "__MACOSX";
        passed_over.of_macos |= of_macos;
        !of_macos && (entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b"."))
    });
    visible
        .map(|entry| entry.map_err(|error| walk_error(folder, &error)))
        .collect()
}

/// A path as text that differs where the path does, unless a name holds such an escape literally.
fn shown(path: &OsStr, rules: DataRules) -> String {
    if rules == DataRules::First {
        return path.to_string_lossy().into_owned();
    }
    let mut text = String::new();
    for chunk in path.as_encoded_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02X}")));
    }
    text
}

/// Names that are shown alike though their bytes differ: only where such bytes are spelled out.
fn check_distinct<N>(split: SplitName, root: &Path, names: impl Iterator<Item = N>) -> Result<(), DataError>
where
    N: AsRef<str> + Into<String> + Ord,
{
    let mut known = BTreeSet::new();
    for name in names.filter(|name| name.as_ref().contains("\\x")) {
        if let Some(name) = known.replace(name) {
            return Err(DataError::SameName {
                split,
                path: root.to_owned(),
                name: name.into(),
            });
        }
    }
    Ok(())
}

fn walk_error(folder: &Path, error: &walkdir::Error) -> DataError {
    let path = error.path().unwrap_or(folder);
    match error.io_error() {
        Some(io) => unreadable(path, io),
        None => DataError::Unreadable {
            path: path.to_owned(),
            reason: "a link leads back to a folder that holds it".to_owned(),
        },
    }
}

fn is_image(entry: &DirEntry) -> bool {
    has_image_name(entry.path())
}

/// Whether the name of a file ends as those of images do that the decoder reads.
pub fn has_image_name(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// All images in a folder and in the folders within it, without labels, in the order in which those of a class would be; and what a person
/// should know of what else is there.
///
/// # Errors
///
/// A folder that cannot be read; one without an image.
pub fn images_below(folder: &Path) -> Result<(Split, Vec<String>), DataError> {
    let (split, rules) = (SplitName::Test, DataRules::Current);
    let (mut samples, mut passed_over) = (Vec::new(), PassedOver::default());
    list_class((folder, folder), "", rules, &mut samples, &mut passed_over)?;
    if samples.is_empty() {
        let hint = passed_over.unread().map(|sentence| format!("; {sentence}")).collect();
        let path = folder.to_owned();
        return Err(DataError::EmptySplit { split, path, hint });
    }
    let sample = |listed: Listed| Sample {
        id: listed.id,
        target: Target::Labels(Vec::new()),
        source: listed.source,
    };
    let found = Split {
        name: split,
        samples: samples.into_iter().map(sample).collect(),
    };
    Ok((found, passed_over.sentences()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn bytes_that_are_not_utf_8_are_shown_as_numbers() {
        let path = OsStr::from_bytes(b"caf\xe9/\xc3\xa9.jpg");
        assert_eq!(shown(path, DataRules::Current), "caf\\xE9/\u{e9}.jpg");
        assert_eq!(shown(path, DataRules::First), "caf\u{fffd}/\u{e9}.jpg");
    }
}
