//! JSON lines.

use super::{Case, Format, VALIDATION};

pub(crate) const JSON_LINES: &[Case] = &[
    Case {
        name: "a line that is not JSON",
        files: &[(
            "train",
            b"{\"text\": \"a\", \"label\": 1}\n\n{\"text\": \"b\", label: 1}\n",
        )],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:3:15: not JSON: key must be a string",
    },
    Case {
        name: "a line that is an array",
        files: &[("train", b"[1, 2]\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: the line is an array, expected an object with `text` and `label`",
    },
    Case {
        name: "a missing field",
        files: &[("train", b"{\"sentence\": \"a\", \"label\": 1}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: no field `text` for the text; found `sentence`, `label`",
    },
    Case {
        name: "a text that is a number",
        files: &[("train", b"{\"text\": 7, \"label\": 1}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: field `text` is a number, expected a string",
    },
    Case {
        name: "a label that is null",
        files: &[("train", b"{\"text\": \"a\", \"label\": null}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: the label (`label`) is `null`, a missing value; data.missingLabels can leave such rows out (drop) or take \
                  the word for a class (keep)",
    },
    Case {
        name: "a label that is a word for none",
        files: &[("train", b"{\"text\": \"a\", \"label\": \"<NA>\"}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: the label (`label`) is `<NA>`, a missing value; data.missingLabels can leave such rows out (drop) or take \
                  the word for a class (keep)",
    },
    Case {
        name: "a label that is a list",
        files: &[("train", b"{\"text\": \"a\", \"label\": [1]}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: field `label` is an array, expected a string, a number or a boolean",
    },
    Case {
        name: "a table where JSON lines were said",
        files: &[("train", b"text;label\na;1\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train: 2 of 2 rows cannot be used: line 1: not JSON: expected ident; it seems to be a table: set data.format: csv and \
                  data.delimiter: \";\"; line 2: not JSON: expected value",
    },
    Case {
        name: "lines of many kinds that end with CR alone",
        files: &[(
            "train",
            b"{\"text\": \"a\", \"label\": 1}\r{\"text\": \" \", \"label\": 0}\r{\"label\": 0}\r7\r{\"text\": 3, \"label\": 1}\r",
        )],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train: 4 of 5 rows cannot be used: line 2: the text (`text`) is empty; line 3: no field `text` for the text; found \
                  `label`; line 4: the line is a number, expected an object with `text` and `label`; line 5: field `text` is a number, \
                  expected a string",
    },
    Case {
        name: "a label of validation that looks like one of train",
        files: &[
            (
                "train",
                b"{\"text\": \"a\", \"label\": \"no\"}\n{\"text\": \"b\", \"label\": \"yes\"}\n",
            ),
            ("val", b"{\"text\": \"c\", \"label\": \"Yes\"}\n"),
        ],
        format: Format::JsonLines,
        validation: VALIDATION,
        message: "validation: class `Yes` is not among the 2 classes of train (`no`, `yes`); first seen at val:1; it looks like `yes` of \
                  train: `Y` U+0059 here, `y` U+0079 there",
    },
    Case {
        name: "an empty label",
        files: &[("train", b"{\"text\": \"a\", \"label\": \"\"}\n")],
        format: Format::JsonLines,
        validation: None,
        message: "{}/train:1: the label (`label`) is empty",
    },
];
