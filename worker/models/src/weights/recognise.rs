//! What a file is that should hold weights and does not: the usual accidents of a download.

/// The accident in words; `None` when the bytes look like none of those that are known.
pub(crate) fn accident(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() {
        return Some("it is empty".to_owned());
    }
    if bytes.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Some("it is a Git LFS pointer, not the file that it points to; `git lfs pull` fetches that".to_owned());
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
