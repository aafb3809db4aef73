//! How quotas are shown, and what is used of them.

use firn_proto::v1alpha1::{NamespaceUse, Quota};
use serde_json::{Value, json};

use super::{humanise::counted, table::text_table};

/// Namespaces, one a line: what is used, and of how much.
pub(crate) fn table(namespaces: &[NamespaceUse]) -> String {
    let rows = namespaces.iter().map(|used| {
        let (slots, jobs) = limits(used);
        vec![
            used.namespace.clone(),
            part(used.slots, slots),
            part(used.jobs, jobs),
            used.waiting.to_string(),
        ]
    });
    text_table(&["NAMESPACE", "SLOTS", "JOBS", "WAITING"], rows.collect())
}

/// `{"quotas": [namespace, …]}`.
pub(crate) fn document(namespaces: &[NamespaceUse]) -> Value {
    json!({"quotas": namespaces.iter().map(of_namespace).collect::<Vec<_>>()})
}

/// One namespace; a limit that it does not have is `null`.
pub(crate) fn of_namespace(used: &NamespaceUse) -> Value {
    let (slots, jobs) = limits(used);
    json!({
        "namespace": used.namespace,
        "quota": {"slots": slots, "jobs": jobs},
        "slots": used.slots,
        "jobs": used.jobs,
        "waiting": used.waiting,
    })
}

/// What a namespace may hold from now on. Where it holds more, that is said.
pub(crate) fn sentence(used: &NamespaceUse) -> String {
    let (slots, jobs) = limits(used);
    let limits: Vec<String> = [(slots, "slot"), (jobs, "job")]
        .into_iter()
        .filter_map(|(limit, noun)| Some(counted(u64::from(limit?), noun)))
        .collect();
    let may = match limits.is_empty() {
        true => "everything".to_owned(),
        false => format!("at most {}", limits.join(" and ")),
    };
    let holds = format!("{} with {}", counted(used.slots, "slot"), counted(used.jobs, "job"));
    let is_beyond = |used: u64, limit: Option<u32>| limit.is_some_and(|limit| used > u64::from(limit));
    let more = match is_beyond(used.slots, slots) || is_beyond(used.jobs, jobs) {
        true => ", which is more: running jobs keep them, and nothing new is given until they have ended",
        false => "",
    };
    format!("{}: may hold {may}; holds {holds}{more}", used.namespace)
}

fn limits(used: &NamespaceUse) -> (Option<u32>, Option<u32>) {
    let Quota { slots, jobs } = used.quota.unwrap_or_default();
    (slots, jobs)
}

fn part(used: u64, limit: Option<u32>) -> String {
    match limit {
        Some(limit) => format!("{used}/{limit}"),
        None => used.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(slots: Option<u32>, jobs: Option<u32>) -> NamespaceUse {
        NamespaceUse {
            namespace: "team-a".to_owned(),
            quota: Some(Quota { slots, jobs }),
            slots: 6,
            jobs: 1,
            waiting: 12,
        }
    }

    #[test]
    fn a_table_says_what_is_used_and_of_how_much() {
        let free = NamespaceUse {
            namespace: "team-b".to_owned(),
            ..NamespaceUse::default()
        };
        let expected = "\
NAMESPACE   SLOTS   JOBS   WAITING
team-a      6/8     1      12
team-b      0       0      0
";
        assert_eq!(table(&[used(Some(8), None), free]), expected);
    }

    #[test]
    fn what_was_set_is_a_sentence_and_what_is_beyond_it_is_told() {
        let sentences = [
            (
                used(Some(8), Some(2)),
                "team-a: may hold at most 8 slots and 2 jobs; holds 6 slots with 1 job",
            ),
            (
                used(None, None),
                "team-a: may hold everything; holds 6 slots with 1 job",
            ),
            (
                used(Some(4), None),
                "team-a: may hold at most 4 slots; holds 6 slots with 1 job, which is more: running jobs keep them, and nothing new is given \
                 until they have ended",
            ),
        ];
        for (used, expected) in sentences {
            assert_eq!(sentence(&used), expected);
        }
    }

    #[test]
    fn a_limit_that_is_not_there_is_null() {
        let shown = document(&[used(Some(8), None)]);
        let expected =
            json!({"namespace": "team-a", "quota": {"slots": 8, "jobs": null}, "slots": 6, "jobs": 1, "waiting": 12});
        assert_eq!(shown, json!({"quotas": [expected]}));
    }
}
