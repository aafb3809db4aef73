//! What the API server does not take: it stands on the resource, and the job is given up in time.

use std::path::Path;

use serde_json::json;

use crate::place::{Place, condition, job};

#[test]
fn a_job_whose_pods_the_api_server_refuses_is_given_up_in_time_and_says_why() {
    let Some(mut place) = Place::new("refusing") else {
        return;
    };
    place.settings["startDeadlineSeconds"] = json!(1);
    let _operator = place.operator("one");
    let mut contradictory = job("ants", Path::new("/data"));
    contradictory["spec"]["worker"] =
        json!({"template": {"spec": {"containers": [{"name": "worker", "securityContext": {"privileged": true}}]}}});
    place.create(&contradictory);
    place.wait("ftj/ants", ".status.summary", "Failed");
    let ants = place.get("ftj", "ants");
    let (failed, reconciled) = (condition(&ants, "Failed"), condition(&ants, "Reconciled"));
    assert_eq!(
        (&failed["reason"], &reconciled["reason"]),
        (&json!("PodsCannotStart"), &json!("ClusterRefused"))
    );
    let message = failed["message"].as_str().unwrap();
    assert!(
        message.contains("cannot set `allowPrivilegeEscalation` to false and `privileged` to true"),
        "{message}"
    );
    assert_eq!(place.jobs(), [("ants".to_owned(), "Cancelled".to_owned())]);
}
