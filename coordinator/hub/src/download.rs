//! The bytes of one blob: whole and verified under its name, or not there.
//!
//! They come into a file beside it. A process that is killed leaves that file, and the next one goes on where it ends; so does a transfer that breaks.
//! The blob gets its name once its size and, where the ETag is one, its digest are those that the Hub announced.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use firn_core::spec::hub::HubModel;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tracing::{info, warn};

use crate::{
    HubError,
    client::{self, Client, FileFacts},
};

/// Transfers that gave nothing, one after the other, after which the file is given up.
const MOST_FAILURES: u32 = 4;
/// How often a long transfer is told of.
const NEWS: Duration = Duration::from_secs(15);

/// Fetches the file of a commit as `blob`. Whoever calls holds the blob's lock.
pub(crate) fn download(
    client: &Client,
    model: &HubModel,
    name: &str,
    facts: &FileFacts,
    blob: &Path,
) -> Result<(), HubError> {
    crate::cache::make_folder_of(blob)?;
    let what = format!("{model}/{name}");
    let partial = PathBuf::from(format!("{}.firn.incomplete", blob.display()));
    let refused = |source| HubError::Cache {
        path: partial.clone(),
        source,
    };
    let mut found = String::new();
    // What an interrupted process left may be of bytes that were damaged on their way, so there is a second time.
    for _ in 0..2 {
        transfer(client, model, name, facts, &partial)?;
        match differs(&partial, &facts.etag).map_err(refused)? {
            None => {
                let synced = File::open(&partial).and_then(|file| file.sync_all());
                let named = synced.and_then(|()| fs::rename(&partial, blob));
                return named.map_err(HubError::cache(blob));
            }
            Some(digest) => {
                warn!(file = what, "came with other bytes than announced; fetching it anew");
                fs::remove_file(&partial).map_err(refused)?;
                found = digest;
            }
        }
    }
    Err(client.damaged(what, &facts.etag, found))
}

/// Adds to the file until it has the size of the blob.
fn transfer(client: &Client, model: &HubModel, name: &str, facts: &FileFacts, partial: &Path) -> Result<(), HubError> {
    let what = format!("{model}/{name}");
    let refused = |source| HubError::Cache {
        path: partial.to_path_buf(),
        source,
    };
    let mut file = File::options()
        .append(true)
        .create(true)
        .open(partial)
        .map_err(refused)?;
    let mut failures = 0;
    loop {
        let mut length = file.metadata().map_err(refused)?.len();
        if length > facts.size {
            file.set_len(0).map_err(refused)?;
            length = 0;
        }
        if length == facts.size {
            return Ok(());
        }
        info!(file = what, from = length, bytes = facts.size, "fetching from the Hub");
        let broken = match client.transfer(model, name, (length, facts.size)) {
            Ok(transfer) => {
                if transfer.start != length {
                    file.set_len(transfer.start).map_err(refused)?;
                }
                let rest = transfer.bytes.take(facts.size - transfer.start);
                copy(rest, &mut file, (&what, facts.size)).map_err(refused)?
            }
            Err(HubError::Failed { reason, .. }) => Some(reason),
            Err(error) => return Err(error),
        };
        if file.metadata().map_err(refused)?.len() > length {
            failures = 0;
            continue;
        }
        failures += 1;
        if failures > MOST_FAILURES {
            return Err(client.failed(&what, broken.unwrap_or_else(|| "the server sent nothing".to_owned())));
        }
        client.wait(failures - 1);
    }
}

/// Copies what comes; `Some`: why no more came. An error is one of the file.
fn copy(mut bytes: impl io::Read, file: &mut File, (what, size): (&str, u64)) -> io::Result<Option<String>> {
    let mut buffer = vec![0; 1 << 18];
    let mut told = Instant::now();
    loop {
        match bytes.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(count) => file.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Ok(Some(client::interruption(&error))),
        }
        if told.elapsed() > NEWS {
            told = Instant::now();
            info!(
                file = what,
                fetched = file.metadata()?.len(),
                bytes = size,
                "still fetching from the Hub"
            );
        }
    }
}

/// The digest of a file, if it is another than the ETag. One of 64 hex digits is its SHA-256; one of 40 is its SHA-1, as Git hashes a blob or, on some mirrors,
/// of the bytes alone. Others are no digest of the bytes, and say nothing.
fn differs(path: &Path, etag: &str) -> io::Result<Option<String>> {
    if !etag.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(None);
    }
    let etag = etag.to_ascii_lowercase();
    let found = match etag.len() {
        64 => vec![digest_of(path, Sha256::new())?],
        40 => {
            let header = format!("blob {}\0", fs::metadata(path)?.len());
            vec![
                digest_of(path, Sha1::new_with_prefix(header))?,
                digest_of(path, Sha1::new())?,
            ]
        }
        _ => return Ok(None),
    };
    Ok(found.iter().all(|digest| *digest != etag).then(|| found[0].clone()))
}

fn digest_of(path: &Path, mut hash: impl Digest) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}
