//! Bits that flip, on disks and in the memory of a process that runs.

use std::{fs, fs::File, io, os::unix::fs::FileExt as _, path::Path};

use anyhow::Context as _;
use nix::unistd::Pid;
use serde_json::Value;

/// Changes one bit in the middle of a file.
///
/// # Errors
/// If it cannot be read or written.
pub fn flip_in_file(path: &Path) -> anyhow::Result<()> {
    let mut bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(fs::write(path, bytes)?)
}

/// The bytes of a tensor in a safetensors file.
///
/// # Errors
/// If the file has no tensor whose name ends like that.
pub fn tensor(path: &Path, ending: &str) -> anyhow::Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    let (length, rest) = bytes.split_first_chunk().context("a header has a length")?;
    let (header, data) = rest.split_at(usize::try_from(u64::from_le_bytes(*length))?);
    let header: Value = serde_json::from_slice(header)?;
    let tensors = header.as_object().context("a header is an object")?;
    let found = tensors.iter().find(|(name, _)| name.ends_with(ending));
    let (_, tensor) = found.with_context(|| format!("no tensor {ending} in {}", path.display()))?;
    let offset = |index: usize| tensor["data_offsets"][index].as_u64().map(|offset| offset as usize);
    let range = offset(0).zip(offset(1)).context("a tensor has two offsets")?;
    Ok(data[range.0..range.1].to_vec())
}

/// Flips the lowest bit of the first byte wherever a process that stands still holds these bytes, at least 16, at a multiple of 4; tells how
/// often.
///
/// # Errors
/// If its memory cannot be read or written.
pub fn flip_in_memory(process: Pid, bytes: &[u8]) -> anyhow::Result<usize> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{process}/mem"))?;
    let mut flipped = 0;
    for (begin, end) in maps.lines().filter_map(writable) {
        let mut region = vec![0; (end - begin) as usize];
        match memory.read_exact_at(&mut region, begin) {
            Ok(()) => {}
            // Mapped, but not backed by anything.
            Err(error) if error.kind() == io::ErrorKind::Other || error.raw_os_error() == Some(5) => continue,
            Err(error) => return Err(error).context("reading the memory of a process"),
        }
        let aligned = (0..region.len().saturating_sub(bytes.len())).step_by(4);
        for place in aligned.filter(|place| region[*place..].starts_with(bytes)) {
            memory.write_all_at(&[bytes[0] ^ 1], begin + place as u64)?;
            flipped += 1;
        }
    }
    Ok(flipped)
}

/// Begin and end of a region that the process may write and that is no file.
fn writable(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (range, access) = (words.next()?, words.next()?);
    let is_file = words.nth(2)? != "0";
    let (begin, end) = range.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    (access.starts_with("rw") && !is_file).then_some((number(begin)?, number(end)?))
}
