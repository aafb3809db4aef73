//! Tokens are issued, replaced and taken back, and end by themselves.

use firn_core::identifiers::{SecretHash, TokenId};
use firn_core::state::*;
use firn_core::{Input, NewToken};

use crate::bench::*;

fn new(id: &str, role: Role, scope: Scope, lifetime: Option<u64>) -> Input {
    let token = NewToken {
        id: id.into(),
        role,
        scope,
        description: "for a test".to_owned(),
        hash: hash(id, 1),
        lifetime,
    };
    Input::IssueToken { token }
}

/// Of the secret that a token got as its first, second, …
fn hash(id: &str, number: u32) -> SecretHash {
    SecretHash::from(format!("{id}#{number}"))
}

fn rotate(id: &str, number: u32, grace: u64) -> Input {
    Input::RotateToken {
        token: id.into(),
        hash: hash(id, number),
        grace,
    }
}

fn is_taken(coordinator: &Coordinator, id: &str, number: u32) -> bool {
    let bearer = coordinator.state.tokens.bearer(&hash(id, number), coordinator.now);
    bearer.is_some_and(|token| token.id == TokenId::from(id))
}

#[test]
fn a_token_is_taken_until_it_is_revoked() {
    let mut coordinator = Coordinator::new();
    coordinator.accept(new("a", Role::Reader, Scope::All, None));
    coordinator.pass(1_000_000_000);
    assert!(is_taken(&coordinator, "a", 1));
    coordinator.crash();
    assert!(is_taken(&coordinator, "a", 1));
    let revoke = || Input::RevokeToken { token: "a".into() };
    coordinator.accept(revoke());
    assert!(!is_taken(&coordinator, "a", 1));
    let gone = "token a does not exist, has expired or was revoked";
    assert_eq!(coordinator.refuse(revoke()), gone);
    assert_eq!(coordinator.refuse(rotate("a", 2, 0)), gone);
}

#[test]
fn a_token_ends_when_its_time_is_up_and_is_forgotten() {
    let mut coordinator = Coordinator::new();
    coordinator.accept(new("a", Role::Reader, Scope::All, Some(5_000)));
    coordinator.accept(new("b", Role::Reader, Scope::All, Some(9_000)));
    coordinator.pass(4_999);
    assert!(is_taken(&coordinator, "a", 1));
    coordinator.pass(1);
    assert!(!is_taken(&coordinator, "a", 1) && is_taken(&coordinator, "b", 1));
    assert_eq!(coordinator.state.tokens.len(), 1);
    coordinator.pass(4_000);
    assert!(coordinator.state.tokens.is_empty());
}

#[test]
fn the_secret_before_is_taken_for_its_grace() {
    let mut coordinator = Coordinator::new();
    coordinator.accept(new("a", Role::Agent, Scope::All, None));
    coordinator.accept(rotate("a", 2, 3_000));
    assert!(is_taken(&coordinator, "a", 1) && is_taken(&coordinator, "a", 2));
    coordinator.pass(3_000);
    assert!(!is_taken(&coordinator, "a", 1) && is_taken(&coordinator, "a", 2));
    // Of three secrets the first is not taken any more, whatever its grace was.
    coordinator.accept(rotate("a", 3, 60_000));
    coordinator.accept(rotate("a", 4, 60_000));
    let taken = [1, 2, 3, 4].map(|number| is_taken(&coordinator, "a", number));
    assert_eq!(taken, [false, false, true, true]);
    // A secret that got out is replaced without grace.
    coordinator.accept(rotate("a", 5, 0));
    let taken = [3, 4, 5].map(|number| is_taken(&coordinator, "a", number));
    assert_eq!(taken, [false, false, true]);
}

#[test]
fn tokens_of_a_job_end_with_its_deletion_and_never_serve_a_later_one_of_its_name() {
    let mut coordinator = Coordinator::new();
    let of_job = || Scope::Job(job("ants"));
    assert_eq!(
        coordinator.refuse(new("a", Role::Agent, of_job(), None)),
        "job jobs/ants does not exist"
    );
    let ants = coordinator.submit(spec("ants"));
    coordinator.accept(new("a", Role::Agent, of_job(), None));
    coordinator.accept(new("b", Role::Agent, Scope::All, None));
    coordinator.accept(Input::Cancel { job: ants.clone() });
    // Its agents have yet to be told that it is over.
    assert!(is_taken(&coordinator, "a", 1));
    coordinator.accept(Input::Delete { job: ants.clone() });
    assert!(!is_taken(&coordinator, "a", 1) && is_taken(&coordinator, "b", 1));
    coordinator.accept(Input::JobErased { job: ants, bytes: 0 });
    coordinator.submit(spec("ants"));
    assert!(!is_taken(&coordinator, "a", 1));
    assert_eq!(durable(&coordinator.replayed()), durable(&coordinator.state));
}
