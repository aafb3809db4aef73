//! The JSON Schema that the types derive → fields.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::{Choice, End, Fallback, Field, Form, Kind, Only, Range};
use crate::revision::Revision;
use crate::spec::{API_VERSION, JobSpec, KIND, Modality, duration, uri};

/// Its own default, in words, where it depends on other fields.
const DEFAULT_NOTE: &str = "x-firn-default";
/// Of a tagged enum: the choice that is taken when none is written.
const DEFAULT_TYPE: &str = "x-firn-type";
/// That choice in words, where it depends on other fields.
const DEFAULT_TYPE_NOTE: &str = "x-firn-type-default";
/// `image` or `text`: the models to which a field belongs.
const MODALITY: &str = "x-firn-modality";
/// `false`: the result does not depend on the field, nor on those in it.
const RESULT: &str = "x-firn-result";
/// `coordinator`: ranks do the same whatever the field holds, and so do those that do not know it.
const READER: &str = "x-firn-reader";
/// Of a field, a choice or a word: the first revision of the protocol whose ranks know it.
const SINCE: &str = "x-firn-since";
/// Of a tagged enum: the same of its tag, where it had none before.
const TYPE_SINCE: &str = "x-firn-type-since";
/// Of a list: how many items, and why, in words.
const ITEMS: &str = "x-firn-items";

/// The fields of the whole document.
pub(super) fn document() -> Vec<Field> {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<JobSpec>().to_value();
    let (metadata, spec): (Vec<Field>, Vec<Field>) =
        fields(&schema).into_iter().partition(|field| field.name == "metadata");
    let word = |name: &str, explanation: &str, word: &str| Field {
        kind: Kind::Choice(vec![Choice {
            word: word.to_owned(),
            explanation: String::new(),
            since: Revision::UNMARKED,
        }]),
        ..bare(name, explanation)
    };
    let mut document = vec![
        word("apiVersion", "The version of this document's form.", API_VERSION),
        word("kind", "What the document describes.", KIND),
    ];
    document.extend(metadata);
    document.push(Field {
        kind: Kind::Object(spec),
        ..bare("spec", "What is learned, from what, how and where.")
    });
    document
}

fn bare(name: &str, explanation: &str) -> Field {
    Field {
        name: name.to_owned(),
        explanation: explanation.to_owned(),
        kind: Kind::Boolean,
        optional: false,
        default: Fallback::None,
        default_note: None,
        only: None,
        modality: None,
        shapes_result: true,
        for_ranks: true,
        since: Revision::UNMARKED,
    }
}

fn since(schema: &Value, key: &str) -> Revision {
    let marked = schema[key].as_u64();
    marked.map_or(Revision::UNMARKED, |number| Revision(number as u32))
}

/// The fields of an object: its own, and those of the alternatives that were flattened into it.
fn fields(schema: &Value) -> Vec<Field> {
    let mut found = own_fields(schema);
    let whole = list(schema, "allOf").iter().filter(|part| !is_alternatives(part));
    for part in whole {
        found.extend(own_fields(part));
    }
    let nested = list(schema, "allOf").iter().filter(|part| is_alternatives(part));
    for part in std::iter::once(schema)
        .filter(|schema| is_alternatives(schema))
        .chain(nested)
    {
        for field in alternatives(part, schema) {
            if !found.iter().any(|known| known.name == field.name) {
                found.push(field);
            }
        }
    }
    found
}

fn is_alternatives(schema: &Value) -> bool {
    !list(schema, "oneOf").is_empty() || !list(schema, "anyOf").is_empty()
}

fn own_fields(schema: &Value) -> Vec<Field> {
    let properties = schema["properties"].as_object();
    let required = list(schema, "required");
    let field = |(name, property): (&String, &Value)| {
        let is_required = required.iter().any(|known| known == name);
        let mut found = field(name, property, is_required);
        if let (Kind::Choice(choices), Some(word)) = (&found.kind, text(schema, DEFAULT_TYPE))
            && choices.iter().any(|choice| choice.word == word)
        {
            found.default = Fallback::Value(word.into());
        }
        found
    };
    properties.into_iter().flatten().map(field).collect()
}

fn field(name: &str, schema: &Value, is_required: bool) -> Field {
    let mut explanation = text(schema, "description").unwrap_or_default().to_owned();
    let mut optional = !is_required;
    let inner = without_null(schema, &mut optional);
    if explanation.is_empty() {
        explanation = text(&inner, "description").unwrap_or_default().to_owned();
    }
    let since = since(schema, SINCE);
    let mut kind = kind(&inner);
    raise(&mut kind, since);
    Field {
        kind,
        optional,
        default: schema
            .get("default")
            .filter(|value| !value.is_null())
            .map_or(Fallback::None, |value| Fallback::Value(value.clone())),
        default_note: text(schema, DEFAULT_NOTE).map(str::to_owned),
        modality: text(schema, MODALITY).map(|word| match word {
            "image" => Modality::Image,
            _ => Modality::Text,
        }),
        shapes_result: schema[RESULT] != false,
        for_ranks: text(schema, READER) != Some("coordinator"),
        since,
        ..bare(name, &unwrapped(&explanation))
    }
}

/// What is in a field is no older than the field.
fn raise(kind: &mut Kind, since: Revision) {
    if let Kind::Object(fields) = kind {
        for field in fields {
            field.since = field.since.max(since);
            raise(&mut field.kind, since);
        }
    }
}

/// Sentences without the line breaks of the source.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The schema less the possibility of nothing.
fn without_null(schema: &Value, optional: &mut bool) -> Value {
    let mut inner = schema.clone();
    if let Some(kinds) = inner["type"].as_array()
        && kinds.len() == 2
    {
        *optional = true;
        let kind = kinds.iter().find(|kind| *kind != "null").cloned();
        inner["type"] = kind.unwrap_or_default();
    }
    for key in ["anyOf", "oneOf"] {
        let (nothing, others): (Vec<&Value>, Vec<&Value>) =
            list(schema, key).iter().partition(|part| part["type"] == "null");
        if let ([_], [only]) = (nothing.as_slice(), others.as_slice()) {
            *optional = true;
            return (*only).clone();
        }
    }
    inner
}

fn kind(schema: &Value) -> Kind {
    if let Some(choices) = choices(schema) {
        return Kind::Choice(choices);
    }
    match text(schema, "type") {
        Some("boolean") => Kind::Boolean,
        Some("integer") => Kind::Integer {
            bits: if text(schema, "format") == Some("uint64") {
                64
            } else {
                32
            },
            // None has a sign: that is no end of a range.
            range: Range {
                least: range(schema).least.filter(|end| end.at > 0.0),
                ..range(schema)
            },
        },
        Some("number") => Kind::Number(range(schema)),
        Some("array") => Kind::List {
            item: Box::new(kind(&schema["items"])),
            length: text(schema, ITEMS).map(|words| {
                let length = schema["minItems"].as_u64().expect("a list of a stated length has one");
                (length as usize, words.to_owned())
            }),
        },
        Some("object") if schema["additionalProperties"].is_object() => {
            Kind::Map(Box::new(kind(&schema["additionalProperties"])))
        }
        Some("string") => Kind::Text(match text(schema, "format") {
            Some(uri::FORMAT) => Form::Uri,
            Some(duration::FORMAT) => Form::Duration,
            _ => Form::Plain,
        }),
        _ => Kind::Object(fields(schema)),
    }
}

fn choices(schema: &Value) -> Option<Vec<Choice>> {
    let choice = |word: &Value, part: &Value| {
        Some(Choice {
            word: word.as_str()?.to_owned(),
            explanation: unwrapped(text(part, "description").unwrap_or_default()),
            since: since(part, SINCE),
        })
    };
    // What is said of the only words is said of the field.
    if let Some(word) = schema.get("const") {
        return Some(vec![choice(word, &Value::Null)?]);
    }
    if let Some(words) = schema["enum"].as_array() {
        return words.iter().map(|word| choice(word, &Value::Null)).collect();
    }
    let parts = schema["oneOf"].as_array()?;
    let mut found = Vec::new();
    for part in parts {
        match (part.get("const"), part["enum"].as_array()) {
            (Some(word), _) => found.push(choice(word, part)?),
            (None, Some(words)) => {
                for word in words {
                    found.push(choice(word, part)?);
                }
            }
            (None, None) => return None,
        }
    }
    Some(found)
}

fn range(schema: &Value) -> Range {
    let end = |included: &str, excluded: &str| {
        let at = |key: &str| schema[key].as_f64();
        let excluded = at(excluded).map(|at| End { at, included: false });
        excluded.or_else(|| at(included).map(|at| End { at, included: true }))
    };
    Range {
        least: end("minimum", "exclusiveMinimum"),
        most: end("maximum", "exclusiveMaximum"),
    }
}

/// The fields of an enum, side by side: its tag, then those of each choice, with the choices to which they belong. What is said of the
/// enum stands in `owner`: the schema itself, or that into which it was flattened.
fn alternatives(schema: &Value, owner: &Value) -> Vec<Field> {
    let parts = if list(schema, "oneOf").is_empty() {
        list(schema, "anyOf")
    } else {
        list(schema, "oneOf")
    };
    let tag = tag_of(parts);
    let mut choices = Vec::new();
    let mut found: Vec<Field> = Vec::new();
    for part in parts {
        let word = tag.and_then(|tag| part["properties"][tag]["const"].as_str());
        let explanation = text(part, "description").unwrap_or_default();
        if let Some(word) = word {
            choices.push(Choice {
                word: word.to_owned(),
                explanation: unwrapped(explanation),
                since: since(part, SINCE),
            });
        }
        let of_choice = fields(part)
            .into_iter()
            .filter(|field| Some(field.name.as_str()) != tag);
        for mut field in of_choice {
            if field.explanation.is_empty() {
                field.explanation = unwrapped(explanation);
            }
            field.since = field.since.max(since(part, SINCE));
            take(&mut found, field, tag.zip(word));
        }
    }
    let Some(tag) = tag else {
        // Whoever writes one of them says which alternative is meant.
        found.iter_mut().for_each(|field| field.optional = true);
        return found;
    };
    for field in &mut found {
        field.only = field.only.take().filter(|only| only.words.len() < choices.len());
    }
    let default = text(owner, DEFAULT_TYPE).filter(|word| choices.iter().any(|choice| choice.word == *word));
    // The default stands first, whatever the order of the definition.
    choices.sort_by_key(|choice| Some(choice.word.as_str()) != default);
    let tag = Field {
        kind: Kind::Choice(choices),
        default: default.map_or(Fallback::None, |word| Fallback::Value(word.into())),
        default_note: text(owner, DEFAULT_TYPE_NOTE).map(str::to_owned),
        since: since(owner, TYPE_SINCE),
        ..bare(tag, &unwrapped(text(owner, "description").unwrap_or_default()))
    };
    std::iter::once(tag).chain(found).collect()
}

/// The property by which alternatives are told apart.
fn tag_of(parts: &[Value]) -> Option<&str> {
    let properties: &Map<String, Value> = parts.first()?["properties"].as_object()?;
    let is_tag = |name: &&String| {
        parts
            .iter()
            .all(|part| part["properties"][name.as_str()]["const"].is_string())
    };
    properties.keys().find(is_tag).map(String::as_str)
}

/// Takes in a field of a choice, which another choice may have too.
fn take(found: &mut Vec<Field>, mut field: Field, choice: Option<(&str, &str)>) {
    let Some((tag, word)) = choice else {
        if !found.iter().any(|known| known.name == field.name) {
            found.push(field);
        }
        return;
    };
    let Some(known) = found.iter_mut().find(|known| known.name == field.name) else {
        field.only = Some(Only {
            field: tag.to_owned(),
            words: vec![word.to_owned()],
        });
        found.push(field);
        return;
    };
    known.since = known.since.min(field.since);
    if let Some(only) = &mut known.only {
        if let (Fallback::Value(before), Fallback::Value(value)) = (&known.default, &field.default)
            && before != value
        {
            let mut values: Vec<_> = only.words.iter().map(|word| (word.clone(), before.clone())).collect();
            values.push((word.to_owned(), value.clone()));
            known.default = Fallback::ByChoice(values);
        } else if let (Fallback::ByChoice(values), Fallback::Value(value)) = (&mut known.default, &field.default) {
            values.push((word.to_owned(), value.clone()));
        }
        only.words.push(word.to_owned());
    }
}

fn list<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(schema: &'a Value, key: &str) -> Option<&'a str> {
    schema[key].as_str()
}
