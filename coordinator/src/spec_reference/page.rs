//! The reference page of the spec.

use firn_core::spec::schema::{Field, Kind, document, join};

use super::{facts, kind};

const HEAD: &str = "# The spec of a job

Every field of the document that people write as YAML or JSON, that `spec.json` holds, and that travels as `FineTuneJob`.
This page is generated from `coordinator/core/src/spec`; after a change there,
`BLESS=1 cargo test --release -p firn --test spec_reference` writes it anew. `firn explain FIELD.PATH` says the same at the command line.
";

/// The page as Markdown.
pub fn page() -> String {
    let mut text = HEAD.to_owned();
    section("", document(), &mut text);
    text
}

fn section(path: &str, fields: &[Field], text: &mut String) {
    for field in fields {
        let here = join(path, &field.name);
        text.push_str(&format!(
            "\n{} `{here}`\n\n{}\n",
            if path.is_empty() { "##" } else { "###" },
            field.explanation
        ));
        let mut rows = vec![("type", kind(&field.kind))];
        rows.extend(facts(field));
        if !matches!(field.kind, Kind::Object(_)) {
            text.push('\n');
            for (name, value) in rows {
                text.push_str(&format!("- {name}: {value}\n"));
            }
        }
        if let Kind::Choice(choices) = &field.kind {
            for choice in choices {
                let explanation = if choice.explanation.is_empty() {
                    String::new()
                } else {
                    format!(": {}", choice.explanation)
                };
                text.push_str(&format!("  - `{}`{explanation}\n", choice.word));
            }
        }
        section(&here, field.kind.fields(), text);
    }
}
