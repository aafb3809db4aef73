//! How tokens are shown: never with a secret.

use firn_proto::v1alpha1::Token;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::{document::time, humanise::age, table::text_table};

/// Tokens, one a line.
pub(crate) fn table(tokens: &[Token], now: Timestamp) -> String {
    let rows = tokens.iter().map(|token| {
        let expires = token.expire_time.as_ref();
        vec![
            id(token).to_owned(),
            token.role.clone(),
            scope(token).to_owned(),
            age(token.create_time.as_ref(), now),
            // From now until then.
            expires.map_or_else(|| "never".to_owned(), |then| format!("in {}", age(Some(&now), *then))),
            token.description.clone(),
        ]
    });
    text_table(
        &["TOKEN", "ROLE", "SCOPE", "AGE", "EXPIRES", "DESCRIPTION"],
        rows.collect(),
    )
}

/// One token.
pub(crate) fn document(token: &Token) -> Value {
    json!({
        "name": token.name,
        "role": token.role,
        "namespace": token.namespace,
        "job": token.job,
        "description": token.description,
        "createTime": time(token.create_time.as_ref()),
        "expireTime": time(token.expire_time.as_ref()),
        "previousSecretExpireTime": time(token.previous_secret_expire_time.as_ref()),
    })
}

/// Without `tokens/`.
pub(crate) fn id(token: &Token) -> &str {
    token.name.trim_start_matches("tokens/")
}

/// `reader of namespace vision`.
pub(crate) fn rights(token: &Token) -> String {
    let kind = match token.namespace.is_empty() {
        true => "",
        false => "namespace ",
    };
    format!("{} of {kind}{}", token.role, scope(token))
}

fn scope(token: &Token) -> &str {
    match (token.namespace.as_str(), token.job.as_str()) {
        ("", "") => "everything",
        ("", job) => job,
        (namespace, _) => namespace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_listed_with_what_they_give_and_until_when() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let tokens = [
            Token {
                name: "tokens/a1".into(),
                role: "reader".into(),
                namespace: "vision".into(),
                description: "the dashboard".into(),
                create_time: at(100),
                expire_time: at(4_000),
                ..Token::default()
            },
            Token {
                name: "tokens/b2".into(),
                role: "agent".into(),
                job: "jobs/ants".into(),
                create_time: at(395),
                ..Token::default()
            },
        ];
        let expected = "\
TOKEN   ROLE     SCOPE       AGE     EXPIRES    DESCRIPTION
a1      reader   vision      5m00s   in 1h00m   the dashboard
b2      agent    jobs/ants   5s      never
";
        assert_eq!(table(&tokens, Timestamp { seconds: 400, nanos: 0 }), expected);
        assert_eq!(rights(&tokens[0]), "reader of namespace vision");
        assert_eq!(rights(&tokens[1]), "agent of jobs/ants");
    }
}
