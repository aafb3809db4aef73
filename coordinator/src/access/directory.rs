//! Whom a bearer token belongs to.
//!
//! There are tokens of a file, which says their rights itself, and tokens that were issued, whose rights the state knows. Both can change at any
//! time; whoever is let in is followed, so that what was opened with a token ends with it.

use std::sync::Arc;

use firn_core::{
    Now,
    identifiers::{JobId, SecretHash},
    state::{Role, Scope, Tokens},
};
use tokio::sync::watch;

use super::Caller;
use crate::engine::Clock;

/// Hashes of the tokens of a file, and whom each lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTokens(Arc<[(blake3::Hash, Caller)]>);

/// Shortest token that is taken: 16 hexadecimal digits are 64 bits.
pub(crate) const SHORTEST_TOKEN: usize = 16;

impl FileTokens {
    /// Reads one token a line. Its bearer is an administrator, unless the rights after it say less: `role=agent namespace=vision`.
    ///
    /// # Errors
    /// What was found in place of a token.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let mut words = line.split_whitespace();
            let Some(token) = words.next() else { continue };
            let rights: Vec<&str> = words.collect();
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) || rights.iter().any(|word| !word.contains('=')) {
                return Err(format!("other characters in line {number}"));
            }
            if token.len() < SHORTEST_TOKEN {
                return Err(format!("{} characters in line {number}", token.len()));
            }
            let caller = caller(&rights).map_err(|found| format!("{found} in line {number}"))?;
            tokens.push((blake3::hash(token.as_bytes()), caller));
        }
        match tokens.is_empty() {
            true => Err("none".to_owned()),
            false => Ok(Self(tokens.into())),
        }
    }

    /// Compares hashes in constant time (as `blake3::Hash` does), and all of them: how long it takes tells nothing of a token.
    fn caller(&self, hash: blake3::Hash) -> Option<&Caller> {
        self.0.iter().fold(None, |found, (known, caller)| match *known == hash {
            true => Some(caller),
            false => found,
        })
    }
}

/// Whom the rights behind a token describe.
fn caller(rights: &[&str]) -> Result<Caller, String> {
    let mut caller = Caller::ADMINISTRATOR;
    for right in rights {
        match right.split_once('=') {
            Some(("role", word)) => caller.role = Role::of(word).ok_or_else(|| format!("the right `{right}`"))?,
            Some(("namespace", name)) if caller.scope == Scope::All && !name.is_empty() => {
                caller.scope = Scope::Namespace(name.to_owned());
            }
            Some(("job", job)) if caller.scope == Scope::All && !job.is_empty() => {
                caller.scope = Scope::Job(JobId::from(job));
            }
            _ => return Err(format!("the right `{right}`")),
        }
    }
    match caller.role.fits(&caller.scope) {
        true => Ok(caller),
        false => Err(caller.to_string()),
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
        if let Some(file) = self.file.as_mut()
            && let Some(caller) = file.borrow_and_update().caller(hash)
        {
            return Some((caller.clone(), None));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn callers(text: &str) -> Result<Vec<String>, String> {
        let tokens = FileTokens::parse(text)?;
        Ok(tokens.0.iter().map(|(_, caller)| caller.to_string()).collect())
    }

    #[test]
    fn a_token_of_the_file_is_an_administrators_unless_its_line_says_less() {
        let text = "0123456789abcdef\n\n0123456789abcdeg role=submitter\n0123456789abcdeh  namespace=vision role=agent\n\
                    0123456789abcdei role=reader job=ants\n";
        let expected = [
            "an administrator of everything",
            "a submitter of everything",
            "an agent of namespace vision",
            "a reader of jobs/ants",
        ];
        assert_eq!(callers(text).unwrap(), expected);
    }

    #[test]
    fn rights_that_are_none_are_refused_with_their_line() {
        for (rights, found) in [
            ("role=king", "the right `role=king` in line 2"),
            ("role=", "the right `role=` in line 2"),
            ("role=agent namespace=", "the right `namespace=` in line 2"),
            ("role=agent namespace=a job=b", "the right `job=b` in line 2"),
            ("scope=a", "the right `scope=a` in line 2"),
            ("namespace=a", "an administrator of namespace a in line 2"),
            ("role=submitter job=a", "a submitter of jobs/a in line 2"),
            ("role", "other characters in line 2"),
        ] {
            let error = callers(&format!("0123456789abcdef\n0123456789abcdeg {rights}\n")).unwrap_err();
            assert_eq!(error, found);
        }
    }

    #[test]
    fn a_token_is_known_by_its_whole_text_alone() {
        let tokens = FileTokens::parse("0123456789abcdef role=reader\nfedcba9876543210\n").unwrap();
        let role = |token: &str| tokens.caller(blake3::hash(token.as_bytes())).map(|caller| caller.role);
        assert_eq!(role("0123456789abcdef"), Some(Role::Reader));
        assert_eq!(role("fedcba9876543210"), Some(Role::Administrator));
        assert_eq!(role("0123456789abcdef role=reader"), None);
    }
}
