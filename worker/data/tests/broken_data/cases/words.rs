//! Words and their tags.

use super::{Case, Format, VALIDATION};

pub(crate) const WORDS: &[Case] = &[
    Case {
        name: "tags that are more or fewer than the words",
        files: &[(
            "train",
            br#"{"tokens": ["Ada", "was"], "tags": ["B-PER", "O"]}
{"tokens": ["Ada", "was"], "tags": ["B-PER"]}
{"tokens": ["here"], "tags": ["O", "O"]}
"#,
        )],
        format: Format::WordLines,
        validation: None,
        message: "{}/train: 2 of 3 rows cannot be used: line 2: 2 words in `tokens` and 1 tags in `tags`: each word needs one tag; \
                  line 3: 1 words in `tokens` and 2 tags in `tags`: each word needs one tag",
    },
    Case {
        name: "tags that are numbers",
        files: &[("train", br#"{"tokens": ["Ada", "was"], "tags": [1, 0]}"#)],
        format: Format::WordLines,
        validation: None,
        message: "{}/train:1: tag 1 of `tags` is a number, expected a string: the name of a tag, not its number",
    },
    Case {
        name: "words that are one text",
        files: &[("train", br#"{"tokens": "Ada was", "tags": ["B-PER", "O"]}"#)],
        format: Format::WordLines,
        validation: None,
        message: "{}/train:1: field `tokens` is a string, expected an array of words",
    },
    Case {
        name: "a word that is null",
        files: &[("train", br#"{"tokens": ["Ada", null], "tags": ["B-PER", "O"]}"#)],
        format: Format::WordLines,
        validation: None,
        message: "{}/train:1: word 2 of `tokens` is null, expected a string",
    },
    Case {
        name: "no words",
        files: &[("train", br#"{"tokens": [], "tags": []}"#)],
        format: Format::WordLines,
        validation: None,
        message: "{}/train:1: the text (`tokens`) is empty",
    },
    Case {
        name: "a tag that is missing",
        files: &[("train", br#"{"tokens": ["Ada", "was"], "tags": ["B-PER", null]}"#)],
        format: Format::WordLines,
        validation: None,
        message: "{}/train:1: the label (`tags`) is `null`, a missing value; data.missingLabels can leave such rows out (drop) or take the word for a \
                  class (keep)",
    },
    Case {
        name: "a field of another name",
        files: &[("train", br#"{"tokens": ["Ada", "was"], "ner_tags": ["B-PER", "O"]}"#)],
        format: Format::WordLines,
        validation: None,
        message: "{}/train:1: no field `tags` for the label; found `tokens`, `ner_tags`",
    },
    Case {
        name: "a tag that train has not",
        files: &[
            ("train", br#"{"tokens": ["Ada", "was"], "tags": ["B-PER", "O"]}"#),
            ("val", br#"{"tokens": ["in", "Paris"], "tags": ["O", "B-LOC"]}"#),
        ],
        format: Format::WordLines,
        validation: VALIDATION,
        message: "validation: tag `B-LOC` (`tags`) is not among the 2 tags of train (`B-PER`, `O`); first seen at val:1",
    },
    Case {
        name: "one tag alone",
        files: &[("train", br#"{"tokens": ["it", "was"], "tags": ["O", "O"]}"#)],
        format: Format::WordLines,
        validation: None,
        message: "train: {}/train has one class, `O`; a classifier needs at least two",
    },
    Case {
        name: "a line without its tag",
        files: &[("train", b"-DOCSTART- -X- O\n\nAda NNP B-PER\nwas VBD O\n\nhere\n.  O\n")],
        format: Format::Conll,
        validation: None,
        message: "{}/train:6: the label (`the last column`) is empty",
    },
    Case {
        name: "a word that is no text",
        files: &[("train", b"Ada B-PER\nw\xffs O\n")],
        format: Format::Conll,
        validation: None,
        message: "{}/train:2: not UTF-8 text",
    },
    Case {
        name: "nothing but lines between documents",
        files: &[("train", b"-DOCSTART- -X- O\n\n\n")],
        format: Format::Conll,
        validation: None,
        message: "train: {}/train holds no samples",
    },
];
