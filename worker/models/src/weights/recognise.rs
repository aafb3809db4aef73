//! What a file is that should hold weights and does not: pickles, other formats, and the usual accidents of a download.

use std::path::Path;

/// Whether a file is named as pickles are.
pub(crate) fn has_name_of_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    matches!(
        extension.as_str(),
        "bin" | "pt" | "pth" | "pkl" | "pickle" | "ckpt" | "t7"
    )
}

/// Whether bytes are what `torch.save` or `pickle.dump` write: a ZIP archive, or the opcode of a protocol from 2 on and its number.
pub(crate) fn is_pickle(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || matches!(bytes, [0x80, 2..=5, ..])
}

/// How the files of other programs begin.
const OTHERS: [(&[u8], &str); 4] = [
    (b"\x89HDF\r\n", "an HDF5 file, as Keras writes it"),
    (b"GGUF", "a GGUF file, as llama.cpp reads it"),
    (b"\x93NUMPY", "an array of NumPy"),
    (b"\x1f\x8b", "compressed with gzip"),
];

/// The accident in words; `None` when the bytes look like none of those that are known.
pub(crate) fn accident(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("it is empty".to_owned());
    }
    if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Some("it is a Git LFS pointer, not the file that it points to; `git lfs pull` fetches that".to_owned());
    }
    if let Some((_, what)) = OTHERS.iter().find(|(start, _)| bytes.starts_with(start)) {
        return Some(format!("it is {what}"));
    }
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(64)])
        .trim_start()
        .to_ascii_lowercase();
    if start.starts_with("<!doctype html") || start.starts_with("<html") {
        return Some("it is an HTML page, perhaps the answer of a server that wants a login".to_owned());
    }
    cut_short(bytes)
}

/// A safetensors file whose header says that more bytes follow than there are.
fn cut_short(bytes: &[u8]) -> Option<String> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    if rest.first() != Some(&b'{') {
        return None;
    }
    let Some(header) = rest.get(..length) else {
        return Some(format!(
            "it is cut short: its header alone has {length} bytes, the file {}",
            bytes.len()
        ));
    };
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let ends = header
        .values()
        .filter_map(|tensor| tensor.get("data_offsets")?.get(1)?.as_u64());
    let missing = ends
        .max()?
        .checked_sub((rest.len() - length) as u64)
        .filter(|&missing| missing > 0)?;
    Some(format!("it is cut short: {missing} bytes less than its header says"))
}
