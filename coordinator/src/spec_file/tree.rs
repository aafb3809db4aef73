//! YAML text → a tree in which everything knows its line.
//!
//! A deserialiser would stop at the first mistake and forget where it was; people want all mistakes, each with its line. JSON is YAML, so
//! the same reader serves both.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::Problem;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    /// From 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// Plain text may stand for a number, a truth value or nothing; quoted text never does.
    Scalar {
        text: String,
        plain: bool,
    },
    Sequence(Vec<Node>),
    /// In the order of the file; keys may repeat.
    Mapping(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Line of the key.
    pub(super) line: usize,
    pub(super) value: Node,
}

impl Node {
    /// Whether it says "nothing": `~`, `null` or an empty place.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// A spec is small; what is larger or deeper is a mistake, or an attack by aliases that multiply.
const MOST_NODES: usize = 10_000;
const DEEPEST: usize = 32;

/// The one document of the text; `None`: there is nothing in it.
pub(super) fn tree(text: &str) -> Result<Option<Node>, Problem> {
    let mut reader = Reader {
        events: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        nodes: 0,
    };
    let mut document = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(document.filter(|node: &Node| !node.is_null())),
            Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing => {}
            _ if document.is_some() => {
                let message = "expected one job in the file, found a second document".to_owned();
                return Err(Problem::at_line(span.start.line(), message));
            }
            content => document = Some(reader.node(content, span, 0)?),
        }
    }
}

struct Reader<'a> {
    events: Parser<'a, StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        let line = span.start.line();
        if depth > DEEPEST {
            return Err(Problem::at_line(
                line,
                format!("must not be nested deeper than {DEEPEST} levels"),
            ));
        }
        self.count(line, 1)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(line, tag.as_deref())?;
                (
                    Value::Scalar {
                        text: text.into_owned(),
                        plain: style == ScalarStyle::Plain,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(line, tag.as_deref())?;
                (self.sequence(depth)?, anchor)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(line, tag.as_deref())?;
                (self.mapping(depth)?, anchor)
            }
            Event::Alias(anchor) => return self.alias(line, anchor),
            other => return Err(Problem::at_line(line, format!("expected a value, found {other:?}"))),
        };
        let node = Node { line, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Sequence(items));
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Mapping(entries));
            }
            let key = self.node(event, span, depth + 1)?;
            let Value::Scalar { text, .. } = key.value else {
                return Err(Problem::at_line(
                    key.line,
                    "expected the name of a field, found a list or mapping".to_owned(),
                ));
            };
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push(Entry {
                key: text,
                line: key.line,
                value,
            });
        }
    }

    fn alias(&mut self, line: usize, anchor: usize) -> Result<Node, Problem> {
        let node = self.anchors.get(&anchor).cloned();
        let node = node.ok_or_else(|| Problem::at_line(line, "an alias must stand after its anchor".to_owned()))?;
        self.count(line, size(&node))?;
        Ok(node)
    }

    fn count(&mut self, line: usize, more: usize) -> Result<(), Problem> {
        self.nodes += more;
        if self.nodes > MOST_NODES {
            return Err(Problem::at_line(
                line,
                format!("must not hold more than {MOST_NODES} values"),
            ));
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::Sequence(items) => items.iter().map(size).sum(),
        Value::Mapping(entries) => entries.iter().map(|entry| 1 + size(&entry.value)).sum(),
    }
}

fn refuse_tag(line: usize, tag: Option<&Tag>) -> Result<(), Problem> {
    match tag {
        None => Ok(()),
        Some(tag) => Err(Problem::at_line(
            line,
            format!("YAML tags are not supported, found `{tag}`"),
        )),
    }
}

fn syntax(error: &ScanError) -> Problem {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    Problem::at_line(line, format!("not valid YAML at column {column}: {}", error.info()))
}
