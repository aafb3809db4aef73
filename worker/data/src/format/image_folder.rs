//! Image folders, listed as torchvision's `ImageFolder` does: one folder a class, folders within it walked, classes in name order and
//! files in the order of (folder, name). Hidden files and folders are passed over.

use std::path::Path;

use walkdir::{DirEntry, WalkDir};

use super::{Listed, Listing, is_folder, unreadable};
use crate::{DataError, Source, SplitName};

/// What the decoder reads; without case.
const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "ppm", "pgm", "webp"];

#[derive(Default)]
struct Ignored {
    count: usize,
    first: Option<String>,
}

impl Ignored {
    fn add(&mut self, name: String) {
        self.count += 1;
        self.first.get_or_insert(name);
    }

    fn sentence(self) -> Option<String> {
        let first = self.first?;
        let files = if self.count == 1 {
            "1 file that is".to_owned()
        } else {
            format!("{} files that are", self.count)
        };
        Some(format!(
            "ignored {files} not an image by extension or not in a class folder, the first is {first}"
        ))
    }
}

pub(super) fn list(split: SplitName, root: &Path) -> Result<Listing, DataError> {
    if !is_folder(split, root)? {
        return Err(DataError::NotAFolder {
            split,
            path: root.to_owned(),
        });
    }
    let mut ignored = Ignored::default();
    let mut classes = Vec::new();
    let mut images_outside = 0;
    for entry in entries(root, 1)? {
        if entry.file_type().is_dir() {
            classes.push(entry);
        } else {
            images_outside += usize::from(is_image(&entry));
            ignored.add(name_of(&entry));
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
        let name = name_of(class);
        let before = samples.len();
        list_class(root, class.path(), &name, &mut samples, &mut ignored)?;
        if samples.len() == before {
            empty_classes.push(name);
        }
    }
    Ok(Listing {
        split,
        path: root.to_owned(),
        empty_classes,
        samples,
        ignored: ignored.sentence(),
    })
}

fn list_class(
    root: &Path,
    folder: &Path,
    class: &str,
    samples: &mut Vec<Listed>,
    ignored: &mut Ignored,
) -> Result<(), DataError> {
    let mut found: Vec<(String, String, Listed)> = Vec::new();
    for entry in entries(folder, usize::MAX)? {
        if entry.file_type().is_dir() {
            continue;
        }
        let relative = entry.path().strip_prefix(root).expect("the walk starts at the root");
        let id = relative.to_string_lossy().into_owned();
        if !is_image(&entry) {
            ignored.add(id);
            continue;
        }
        let size = entry.metadata().map_err(|error| walk_error(folder, &error))?.len();
        let parent = relative
            .parent()
            .map_or(String::new(), |parent| parent.to_string_lossy().into_owned());
        let source = Source::File {
            path: entry.path().to_owned(),
            size,
        };
        found.push((
            parent,
            name_of(&entry),
            Listed {
                id,
                class: class.to_owned(),
                source,
            },
        ));
    }
    found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    samples.extend(found.into_iter().map(|(_, _, listed)| listed));
    Ok(())
}

/// What lies in a folder, in name order, links followed, hidden entries left out.
fn entries(folder: &Path, depth: usize) -> Result<Vec<DirEntry>, DataError> {
    let walk = WalkDir::new(folder)
        .min_depth(1)
        .max_depth(depth)
        .follow_links(true)
        .sort_by_file_name();
    let visible = walk
        .into_iter()
        .filter_entry(|entry| entry.depth() == 0 || !entry.file_name().as_encoded_bytes().starts_with(b"."));
    visible
        .map(|entry| entry.map_err(|error| walk_error(folder, &error)))
        .collect()
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
    let extension = entry.path().extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

fn name_of(entry: &DirEntry) -> String {
    entry.file_name().to_string_lossy().into_owned()
}
