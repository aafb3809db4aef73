//! Whom a bearer token belongs to.
//!
//! There are tokens of a file, whose bearers are administrators, and tokens that were issued, whose rights the state knows. Both can change at any
//! time; whoever is let in is followed, so that what was opened with a token ends with it.

use std::sync::Arc;

use firn_core::{Now, identifiers::SecretHash, state::Tokens};
use tokio::sync::watch;

use super::Caller;
use crate::engine::Clock;

/// Hashes of the tokens of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTokens(Arc<[blake3::Hash]>);

/// Shortest token that is taken: 16 hexadecimal digits are 64 bits.
pub(crate) const SHORTEST_TOKEN: usize = 16;

impl FileTokens {
    /// Reads one token a line.
    ///
    /// # Errors
    /// What was found in place of a token.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut hashes = Vec::new();
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let token = line.trim();
            if token.len() < SHORTEST_TOKEN {
                return Err(format!("{} characters in line {number}", token.len()));
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("other characters in line {number}"));
            }
            hashes.push(blake3::hash(token.as_bytes()));
        }
        match hashes.is_empty() {
            true => Err("none".to_owned()),
            false => Ok(Self(hashes.into())),
        }
    }

    /// Compares hashes in constant time (as `blake3::Hash` does), and all of them: how long it takes tells nothing of a token.
    fn hold(&self, hash: blake3::Hash) -> bool {
        self.0.iter().fold(false, |found, known| found | (*known == hash))
    }
}

/// All tokens that are taken, as they are now.
#[derive(Clone)]
pub struct Directory {
    file: Option<watch::Receiver<FileTokens>>,
    issued: watch::Receiver<Arc<Tokens>>,
    clock: Clock,
}

/// Somebody who was let in by a token.
pub(super) struct Bearer {
    directory: Directory,
    hash: blake3::Hash,
}

impl Directory {
    /// `file`: the tokens of the token file, if one is asked for; without one, whoever shows no token may do everything.
    pub fn new(file: Option<watch::Receiver<FileTokens>>, issued: watch::Receiver<Arc<Tokens>>, clock: Clock) -> Self {
        Self { file, issued, clock }
    }

    /// Whether callers have to show a token.
    pub(super) fn asks_for_token(&self) -> bool {
        self.file.is_some()
    }

    /// Who bears a token, and until when, as far as that is known; `None`: nobody may.
    fn find(&mut self, hash: blake3::Hash, now: Now) -> Option<(Caller, Option<Now>)> {
        let of_file = self
            .file
            .as_mut()
            .is_some_and(|file| file.borrow_and_update().hold(hash));
        if of_file {
            return Some((Caller::ADMINISTRATOR, None));
        }
        let secret = SecretHash::from(hash.to_hex().as_str());
        let issued = self.issued.borrow_and_update();
        let token = issued.bearer(&secret, now)?;
        let caller = Caller {
            role: token.role,
            scope: token.scope.clone(),
        };
        Some((caller, token.taken_until(&secret)))
    }

    /// Who shows this token.
    pub(super) fn bearer(&self, token: &str) -> Option<(Caller, Bearer)> {
        let hash = blake3::hash(token.as_bytes());
        let mut directory = self.clone();
        let (caller, _) = directory.find(hash, self.clock.now())?;
        Some((caller, Bearer { directory, hash }))
    }
}

impl Bearer {
    /// Returns when the token is not taken any more.
    pub(super) async fn ended(mut self) {
        loop {
            let Some((_, until)) = self.directory.find(self.hash, self.directory.clock.now()) else {
                return;
            };
            let Directory { file, issued, clock } = &mut self.directory;
            let of_file = async {
                match file {
                    Some(file) => changed(file).await,
                    None => std::future::pending().await,
                }
            };
            let of_issued = changed(issued);
            tokio::select! {
                () = of_file => {}
                () = of_issued => {}
                () = clock.reached(until) => {}
            }
        }
    }
}

/// Returns after a change. Where none can come any more, what is known stays.
async fn changed<T>(watched: &mut watch::Receiver<T>) {
    if watched.changed().await.is_err() {
        std::future::pending().await
    }
}
