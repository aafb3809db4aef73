//! Who may speak to the coordinator: tokens that were issued, and the rights that each of them gives.
//!
//! A secret is made and shown by the shell, once; what is recorded is its hash, so that neither the journal nor a backup of it lets anybody in.
//! While a secret is being replaced the one before is taken, too, so that its bearers have time to get the new one.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identifiers::{JobId, SecretHash, TokenId};
use crate::now::Now;

/// What a caller may do, within its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// Everything.
    Administrator,
    /// Begins, changes and ends jobs, and sees them.
    Submitter,
    /// Sees jobs.
    Reader,
    /// Offers a machine, and what its ranks do.
    Agent,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::Submitter, Self::Reader, Self::Agent];

    /// As people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Submitter => "submitter",
            Self::Reader => "reader",
            Self::Agent => "agent",
        }
    }

    /// Of a word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Whether a token can give it on that: an administrator is one of the whole coordinator, and who may submit may do so more than once.
    pub fn fits(self, scope: &Scope) -> bool {
        match self {
            Self::Administrator => *scope == Scope::All,
            Self::Submitter => !matches!(scope, Scope::Job(_)),
            Self::Reader | Self::Agent => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// What a caller's rights extend to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Everything.
    All,
    /// The jobs of one namespace.
    Namespace(String),
    /// One job.
    Job(JobId),
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("everything"),
            Self::Namespace(namespace) => write!(formatter, "namespace {namespace}"),
            Self::Job(job) => write!(formatter, "jobs/{job}"),
        }
    }
}

/// A token that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// What it is called, for people.
    pub id: TokenId,
    /// What its bearer may do.
    pub role: Role,
    /// On what.
    pub scope: Scope,
    /// Whose it is, for people.
    pub description: String,
    /// Of its secret.
    pub hash: SecretHash,
    /// From when on it is refused.
    pub expires_at: Option<Now>,
    /// When it was issued.
    pub issued_at: Now,
    /// The secret before, and from when on that is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<(SecretHash, Now)>,
}

impl Token {
    /// Until when a secret of it is taken; `None`: until it is revoked, or replaced.
    pub fn taken_until(&self, hash: &SecretHash) -> Option<Now> {
        let previous = self.previous.as_ref().filter(|(previous, _)| previous == hash);
        let previous = previous.map(|(_, until)| *until);
        self.expires_at.into_iter().chain(previous).min()
    }

    /// When something about it ends next.
    fn next_end(&self) -> Option<Now> {
        let previous = self.previous.as_ref().map(|(_, until)| *until);
        self.expires_at.into_iter().chain(previous).min()
    }
}

/// Why a token is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenEnd {
    /// An administrator took it back.
    Revoked,
    /// Its time was up.
    Expired,
    /// The job that it was for was deleted.
    JobDeleted,
}

/// All tokens that are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tokens {
    by_id: BTreeMap<TokenId, Token>,
    /// Who a secret belongs to: also the ones before.
    by_hash: BTreeMap<SecretHash, TokenId>,
    /// When something about one of them ends next.
    next_end: Option<Now>,
}

impl Tokens {
    /// By its id.
    pub fn get(&self, id: &TokenId) -> Option<&Token> {
        self.by_id.get(id)
    }

    /// Whose secret has this hash, if it is taken at this time. Which hash is looked for tells nothing of a secret that has another.
    pub fn bearer(&self, hash: &SecretHash, now: Now) -> Option<&Token> {
        let token = self.by_id.get(self.by_hash.get(hash)?)?;
        let is_over = token.expires_at.is_some_and(|end| end <= now);
        let is_current = token.hash == *hash;
        let is_previous = token
            .previous
            .as_ref()
            .is_some_and(|(previous, until)| previous == hash && now < *until);
        (!is_over && (is_current || is_previous)).then_some(token)
    }

    /// In the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &Token> {
        self.by_id.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// When something about one of them ends next.
    pub(crate) fn next_end(&self) -> Option<Now> {
        self.next_end
    }

    pub(crate) fn insert(&mut self, token: Token) {
        self.by_hash.insert(token.hash.clone(), token.id.clone());
        self.by_id.insert(token.id.clone(), token);
        self.look_ahead();
    }

    /// Another secret; the one before is taken until then.
    pub(crate) fn rotate(&mut self, id: &TokenId, hash: SecretHash, previous_until: Now) {
        let Some(token) = self.by_id.get_mut(id) else { return };
        if let Some((oldest, _)) = token.previous.take() {
            self.by_hash.remove(&oldest);
        }
        let before = std::mem::replace(&mut token.hash, hash.clone());
        token.previous = Some((before, previous_until));
        self.by_hash.insert(hash, id.clone());
        self.look_ahead();
    }

    /// The secret before the present one is not taken any more.
    pub(crate) fn drop_previous(&mut self, id: &TokenId) {
        if let Some((hash, _)) = self.by_id.get_mut(id).and_then(|token| token.previous.take()) {
            self.by_hash.remove(&hash);
        }
        self.look_ahead();
    }

    pub(crate) fn remove(&mut self, id: &TokenId) {
        if let Some(token) = self.by_id.remove(id) {
            self.by_hash.remove(&token.hash);
            if let Some((previous, _)) = token.previous {
                self.by_hash.remove(&previous);
            }
        }
        self.look_ahead();
    }

    fn look_ahead(&mut self) {
        self.next_end = self.by_id.values().filter_map(Token::next_end).min();
    }
}
