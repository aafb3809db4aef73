//! A job from `kubectl apply` to its end.

use crate::release::{Story, job};

#[test]
fn what_is_applied_trains_and_kubectl_waits_for_it() {
    let Some(story) = Story::begin() else { return };
    let ants = job("ants", 2, (1, 2));
    story.apply(&ants);
    let (status, receipt) = story.succeeds("ants");
    story.figure("applied → Succeeded, two workers, 28 steps");
    assert_eq!(status["progress"]["step"], 28, "{status}");
    assert_eq!(status["restarts"], 0);
    assert_eq!(receipt.steps_taken_back(), 0);
    // Its pods have ended well, and a second apply of the same changes nothing.
    story.wait("job/ants-workers", "condition=Complete");
    let before = story.get("ftj", "ants")["metadata"]["resourceVersion"].clone();
    let applied = story.team(&["apply", "-f", "-"], &ants.to_string());
    assert_eq!(applied, "finetunejob.firn.dev/ants unchanged");
    assert_eq!(story.get("ftj", "ants")["metadata"]["resourceVersion"], before);
    story.delete("ants");
}
