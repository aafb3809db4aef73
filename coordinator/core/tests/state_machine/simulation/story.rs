//! Stories: lists of actions that proptest makes, and shortens when one fails.
//!
//! Leaving out whole stretches at first, then smaller ones, finds a short story in a few hundred tries; leaving out one action after the other, as
//! proptest does with lists, takes thousands.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use proptest::strategy::{BoxedStrategy, NewTree, Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::actions::{Action, Weather, action};
use super::person;

/// Actions of a story, before any is left out.
const LENGTH: Range<usize> = 500..650;

/// Stories in some weather.
#[derive(Debug)]
pub(crate) struct Stories {
    actions: BoxedStrategy<Vec<Action>>,
}

impl Stories {
    pub(crate) fn in_weather(weather: Weather) -> Self {
        Self {
            actions: proptest::collection::vec(action(weather), LENGTH).boxed(),
        }
    }
}

impl Strategy for Stories {
    type Tree = Shortening;
    type Value = Vec<Action>;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let story = self.actions.new_tree(runner)?.current();
        Ok(Shortening {
            stretch: story.len().div_ceil(2),
            at: 0,
            before: story.clone(),
            story,
            is_shorter: false,
        })
    }
}

/// A story that gets shorter.
#[derive(Debug)]
pub(crate) struct Shortening {
    story: Vec<Action>,
    /// Before the newest stretch was left out.
    before: Vec<Action>,
    /// Length of the stretches that are left out.
    stretch: usize,
    /// Where the next one begins.
    at: usize,
    /// Something was left out for good since the last change of the stretch's length.
    is_shorter: bool,
}

impl ValueTree for Shortening {
    type Value = Vec<Action>;

    fn current(&self) -> Vec<Action> {
        self.story.clone()
    }

    /// Leaves the next stretch out. It is asked for again only if the story still fails.
    fn simplify(&mut self) -> bool {
        self.is_shorter |= self.story.len() < self.before.len();
        self.leave_out()
    }

    /// The story no longer fails: takes the stretch in again, and leaves the one after it out.
    fn complicate(&mut self) -> bool {
        if self.story.len() == self.before.len() {
            return false;
        }
        self.story.clone_from(&self.before);
        self.at += self.stretch;
        self.leave_out()
    }
}

impl Shortening {
    fn leave_out(&mut self) -> bool {
        self.before.clone_from(&self.story);
        if self.at >= self.story.len() {
            if self.stretch == 1 && !self.is_shorter {
                return false;
            }
            self.stretch = self.stretch.div_ceil(2).min(self.stretch.max(2) - 1);
            (self.at, self.is_shorter) = (0, false);
        }
        let end = self.story.len().min(self.at + self.stretch);
        self.story.drain(self.at..end);
        self.story.len() < self.before.len()
    }
}

/// Writes a story down, one action a line, so that it can be told again.
pub(crate) fn write(story: &[Action], name: &str) -> io::Result<PathBuf> {
    let lines: Vec<String> = story
        .iter()
        .map(|action| serde_json::to_string(action).expect("an action is serialisable"))
        .collect();
    let path = folder().join(format!("{name}.jsonl"));
    person::leave(&path, &lines)?;
    Ok(path)
}

/// Reads a story back.
pub(crate) fn read(path: &Path) -> Vec<Action> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("expected an action, found {line}: {error}"))
        })
        .collect()
}

/// Where stories that failed lie.
pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}
