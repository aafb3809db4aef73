//! A table of image paths teaches what the folders of the same images teach.

use std::{fs, path::Path};

use firn_tests::binaries::firn;
use tempfile::TempDir;

const CLASSES: [&str; 2] = ["cool", "warm"];

/// A picture whose colour is its class, with a pattern of its own (Knuth's multiplicative hash).
fn picture(class: usize, number: usize) -> Vec<u8> {
    let mut bytes = b"P6 24 24 255\n".to_vec();
    for place in 0..24 * 24u32 {
        let hash = (place ^ (number as u32) << 12).wrapping_mul(2_654_435_769) >> 26;
        let (strong, weak) = (150 + hash as u8, hash as u8);
        bytes.extend(if class == 1 {
            [strong, weak, weak]
        } else {
            [weak, weak, strong]
        });
    }
    bytes
}

/// Folders of each split, and beside them tables with the same images in the same order.
fn write_images(root: &Path) -> anyhow::Result<()> {
    for (split, count) in [("train", 10), ("val", 4)] {
        let mut table = String::from("file;kind\n");
        let mut lines = String::new();
        for (class, name) in CLASSES.iter().enumerate() {
            fs::create_dir_all(root.join(split).join(name))?;
            for number in 0..count {
                let path = format!("{split}/{name}/{number}.ppm");
                let of_split = if split == "val" { 100 } else { 0 };
                fs::write(root.join(&path), picture(class, number + of_split))?;
                table.push_str(&format!("{path};{name}\n"));
                lines.push_str(&format!(
                    "{{\"file\": \"{name}/{number}.ppm\", \"kind\": \"{name}\"}}\n"
                ));
            }
        }
        fs::write(root.join(format!("{split}.csv")), table)?;
        // Its paths begin elsewhere than beside it, and those of the two splits at one root.
        fs::create_dir_all(root.join("lists"))?;
        fs::write(
            root.join(format!("lists/{split}.jsonl")),
            lines.replace("\"file\": \"", &format!("\"file\": \"{split}/")),
        )?;
    }
    Ok(())
}

/// The head that a job with this `data` learns.
fn head(root: &Path, name: &str, data: &str) -> anyhow::Result<Vec<u8>> {
    let spec = format!(
        "apiVersion: firn.dev/v1alpha1
kind: FineTuneJob
metadata: {{name: {name}}}
spec:
  task: {{type: classification}}
  model: {{architecture: mobilenet_v2}}
  data:
    preprocessing: {{resize: 32, crop: 32}}
{data}
  training: {{epochs: 2, batchSize: 8, determinism: strict, optimizer: {{type: adamw, learningRate: 1e-2}}}}
"
    );
    fs::write(root.join(format!("{name}.yaml")), spec)?;
    let run = firn()
        .arg("run")
        .arg(format!("{name}.yaml"))
        .current_dir(root)
        .output()?;
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{said}");
    assert!(
        said.contains("classes: cool 10/4, warm 10/4 (train/validation)"),
        "{said}"
    );
    Ok(fs::read(root.join(format!("firn-artifacts/{name}/head.safetensors")))?)
}

#[test]
fn a_table_of_image_paths_teaches_bit_by_bit_what_folders_teach() -> anyhow::Result<()> {
    let folder = TempDir::new()?;
    write_images(folder.path())?;
    let of_folders = head(
        folder.path(),
        "folders",
        "    format: imagefolder\n    train: {uri: train}\n    validation: {uri: val}",
    )?;
    let of_table = head(
        folder.path(),
        "table",
        "    format: csv\n    delimiter: \";\"\n    columns: {image: file, label: kind}\n    train: {uri: train.csv}\n    validation: {uri: val.csv}",
    )?;
    let of_lines = head(
        folder.path(),
        "lines",
        "    format: jsonl\n    root: .\n    columns: {image: file, label: kind}\n    train: {uri: lists/train.jsonl}\n    validation: {uri: lists/val.jsonl}",
    )?;
    assert!(of_folders == of_table, "a table teaches something else than folders");
    assert!(of_folders == of_lines, "JSON lines teach something else than folders");
    Ok(())
}
