//! The comments of the spec's messages in the `.proto` file are the words of the schema, so that each thing is said in one place.

use std::collections::BTreeMap;

use firn::spec_reference::facts;
use firn_core::spec::schema::{Field, Kind};

/// Of each message the comment of each field, by their names in the `.proto` file.
pub(crate) type Comments = BTreeMap<String, BTreeMap<String, String>>;

/// Longest line.
const WIDTH: usize = 140;
/// Most words of a choice that are listed; the reference page has them all.
const MOST_WORDS: usize = 20;

/// What is said of a field.
pub(crate) fn comment(field: &Field) -> String {
    let mut text = field.explanation.clone();
    if !text.ends_with(['.', '…']) {
        text.push('.');
    }
    if let Kind::Choice(_) = &field.kind {
        let words: Vec<String> = field.kind.words().iter().map(|word| format!("`{word}`")).collect();
        let few = &words[..words.len().min(MOST_WORDS)];
        let more = if words.len() > few.len() { ", …" } else { "." };
        text.push_str(&format!(" {}{more}", few.join(", ")));
    }
    for (name, value) in facts(field) {
        let (first, rest) = name.split_at(1);
        let name = format!("{}{rest}", first.to_uppercase());
        text.push_str(&match name.as_str() {
            "Required" => " Required.".to_owned(),
            _ => format!(" {name}: {value}."),
        });
    }
    text
}

/// The `.proto` file with these comments in the place of those that it has.
pub(crate) fn with_comments(proto: &str, comments: &Comments) -> String {
    let mut message = None;
    let mut lines: Vec<String> = Vec::new();
    for line in proto.lines() {
        if let Some(name) = line.strip_prefix("message ") {
            message = comments.get(name.trim_end_matches(" {"));
        } else if line == "}" {
            message = None;
        }
        if let Some(comment) = message.and_then(|fields| fields.get(name_of(line)?)) {
            while lines.last().is_some_and(|before| before.starts_with("  //")) {
                lines.pop();
            }
            lines.extend(wrapped(comment));
        }
        lines.push(line.to_owned());
    }
    lines.join("\n") + "\n"
}

/// The field that a line defines.
fn name_of(line: &str) -> Option<&str> {
    let (definition, _) = line.strip_prefix("  ")?.split_once(" = ")?;
    let is_comment = definition.starts_with("//");
    definition.split_whitespace().next_back().filter(|_| !is_comment)
}

fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec!["  //".to_owned()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is one from the beginning");
        if last.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(format!("  // {word}"));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines
}
