//! Tokens are issued, replaced and taken back; each ends by itself when its time is up or its job is gone.

use super::decision_builder::DecisionBuilder;
use crate::identifiers::{JobId, SecretHash, TokenId};
use crate::input::NewToken;
use crate::now::Now;
use crate::record::Event;
use crate::reject::Reject;
use crate::reply::Reply;
use crate::spec::is_label;
use crate::state::{Role, Scope, Token, TokenEnd};

/// Tokens that there can be at once: enough for one a job, and a bound for what a client in a loop can do.
const MOST_TOKENS: usize = 20_000;
/// Bytes of what is said of a token.
const LONGEST_DESCRIPTION: usize = 256;
/// Longest time for which the secret before is taken: a week.
const LONGEST_GRACE: u64 = 7 * 24 * 3_600_000;

pub(super) fn issue(draft: &mut DecisionBuilder<'_>, new: NewToken) -> Result<Reply, Reject> {
    let state = draft.base();
    check_scope(&new)?;
    if let Scope::Job(job) = &new.scope
        && (!state.knows(job) || state.erasing.contains(job))
    {
        return Err(Reject::JobNotFound { job: job.clone() });
    }
    if new.description.len() > LONGEST_DESCRIPTION {
        let reason = format!(
            "expected at most {LONGEST_DESCRIPTION} bytes, found {}",
            new.description.len()
        );
        return Err(invalid("description", reason));
    }
    if new.lifetime == Some(0) {
        return Err(invalid(
            "expires_in",
            "expected a time that is longer than nothing".to_owned(),
        ));
    }
    if state.tokens.len() >= MOST_TOKENS {
        return Err(Reject::LimitReached {
            what: "tokens",
            limit: MOST_TOKENS,
        });
    }
    let now = draft.now();
    draft.record(Event::TokenIssued(Token {
        id: new.id,
        role: new.role,
        scope: new.scope,
        description: new.description,
        hash: new.hash,
        expires_at: new.lifetime.map(|lifetime| now + lifetime),
        issued_at: now,
        previous: None,
    }));
    Ok(Reply::Done)
}

fn check_scope(new: &NewToken) -> Result<(), Reject> {
    let found = &new.scope;
    match (new.role, found) {
        (Role::Administrator, _) if !new.role.fits(found) => Err(invalid(
            "role",
            format!("expected an administrator of everything, found one of {found}"),
        )),
        (role, _) if !role.fits(found) => Err(invalid(
            "job",
            format!("expected a {role} of a namespace or of everything, found one of {found}"),
        )),
        (_, Scope::Namespace(namespace)) if !is_label(namespace) => Err(invalid(
            "namespace",
            format!(
                "expected 1 to 63 lower-case letters, digits and `-`, with a letter or digit at both ends, found `{namespace}`"
            ),
        )),
        _ => Ok(()),
    }
}

pub(super) fn revoke(draft: &mut DecisionBuilder<'_>, id: &TokenId) -> Result<Reply, Reject> {
    known(draft, id)?;
    end(draft, id, TokenEnd::Revoked);
    Ok(Reply::Done)
}

pub(super) fn rotate(
    draft: &mut DecisionBuilder<'_>,
    id: &TokenId,
    hash: SecretHash,
    grace: u64,
) -> Result<Reply, Reject> {
    known(draft, id)?;
    if grace > LONGEST_GRACE {
        let reason = format!("expected at most {} s, found {} s", LONGEST_GRACE / 1000, grace / 1000);
        return Err(invalid("grace", reason));
    }
    draft.record(Event::TokenRotated {
        token: id.clone(),
        hash,
        previous_until: draft.now() + grace,
    });
    if grace == 0 {
        draft.record(Event::TokenSecretDropped { token: id.clone() });
    }
    Ok(Reply::Done)
}

/// The job is gone: nobody may come in its name, nor in that of a later one that gets the same.
pub(super) fn end_of_job(draft: &mut DecisionBuilder<'_>, job: &JobId) {
    let of_job = |token: &&Token| matches!(&token.scope, Scope::Job(other) if other == job);
    let tokens: Vec<TokenId> = draft
        .base()
        .tokens
        .all()
        .filter(of_job)
        .map(|token| token.id.clone())
        .collect();
    for token in tokens {
        end(draft, &token, TokenEnd::JobDeleted);
    }
}

/// Ends what is due.
pub(super) fn expire(draft: &mut DecisionBuilder<'_>) {
    let now = draft.now();
    let is_due = |end: Now| end <= now;
    if !draft.base().tokens.next_end().is_some_and(is_due) {
        return;
    }
    for token in draft.base().tokens.all() {
        if token.expires_at.is_some_and(is_due) {
            end(draft, &token.id, TokenEnd::Expired);
        } else if token.previous.as_ref().is_some_and(|(_, until)| is_due(*until)) {
            draft.record(Event::TokenSecretDropped {
                token: token.id.clone(),
            });
        }
    }
}

fn end(draft: &mut DecisionBuilder<'_>, token: &TokenId, end: TokenEnd) {
    draft.record(Event::TokenEnded {
        token: token.clone(),
        end,
    });
}

fn known(draft: &DecisionBuilder<'_>, id: &TokenId) -> Result<(), Reject> {
    match draft.base().tokens.get(id) {
        Some(_) => Ok(()),
        None => Err(Reject::TokenNotFound { token: id.clone() }),
    }
}

fn invalid(field: &'static str, reason: String) -> Reject {
    Reject::Invalid { field, reason }
}
