//! The release's coordinator goes, and comes back.

use crate::release::{HOME, Story};

fn home(story: &Story, arguments: &[&str]) {
    story.kubectl().must(&[&["--namespace", HOME], arguments].concat(), "");
}

/// It ends, and is not replaced. Nobody writes its folder from then on.
pub(crate) fn stop(story: &Story) {
    home(story, &["scale", "statefulset", "firn-coordinator", "--replicas=0"]);
    home(
        story,
        &["wait", "--for=delete", "pod/firn-coordinator-0", "--timeout=120s"],
    );
}

pub(crate) fn start(story: &Story) {
    home(story, &["scale", "statefulset", "firn-coordinator", "--replicas=1"]);
    serves(story);
}

/// Its pod is lost, and replaced.
pub(crate) fn restart(story: &Story) {
    home(story, &["delete", "pod", "firn-coordinator-0", "--timeout=120s"]);
    serves(story);
}

fn serves(story: &Story) {
    home(
        story,
        &["rollout", "status", "statefulset/firn-coordinator", "--timeout=120s"],
    );
}
