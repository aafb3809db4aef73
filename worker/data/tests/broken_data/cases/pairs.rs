//! Pairs of texts.

use super::{Case, Format};

pub(crate) const PAIRS: &[Case] = &[
    Case {
        name: "no column of second texts",
        files: &[("train", b"text,label\na,1\nb,0\n")],
        format: Format::Pairs,
        validation: None,
        message: "{}/train has no column `other` for the text; found `text`, `label`",
    },
    Case {
        name: "rows without one of their texts",
        files: &[("train", b"text,other,label\na, ,1\nb,c,0\n,d,1\n")],
        format: Format::Pairs,
        validation: None,
        message: "{}/train: 2 of 3 rows cannot be used: line 2: the text (`other`) is empty; line 4: the text (`text`) is empty",
    },
    Case {
        name: "a line without its second text",
        files: &[(
            "train",
            b"{\"text\": \"a\", \"label\": 1}\n{\"text\": \"a\", \"other\": 2, \"label\": 1}\n",
        )],
        format: Format::PairLines,
        validation: None,
        message: "{}/train: 2 of 2 rows cannot be used: line 1: no field `other` for the text; found `text`, `label`; line 2: field `other` is a \
                  number, expected a string",
    },
    Case {
        name: "a pair that is an array",
        files: &[("train", b"[\"a\", \"b\", 1]\n")],
        format: Format::PairLines,
        validation: None,
        message: "{}/train:1: the line is an array, expected an object with `text` and `other` and `label`",
    },
];
