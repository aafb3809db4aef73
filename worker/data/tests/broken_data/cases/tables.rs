//! Tables of texts, and of image paths.

use super::{Case, Format, VALIDATION};

pub(crate) const TABLES: &[Case] = &[
    Case {
        name: "a folder instead of a table",
        files: &[("train/", b"")],
        format: Format::Csv,
        validation: None,
        message: "train: {}/train is a folder; format csv expects a file",
    },
    Case {
        name: "an empty table",
        files: &[("train", b"")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train is empty, expected a header line",
    },
    Case {
        name: "a table of one line",
        files: &[("train", b"text,label\n")],
        format: Format::Csv,
        validation: None,
        message: "train: {}/train holds no samples",
    },
    Case {
        name: "a missing column",
        files: &[("train", b"text,Labels,id\ngood,1,2\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train has no column `label` for the label; found `text`, `Labels`, `id`; did you mean `Labels`?",
    },
    Case {
        name: "another delimiter",
        files: &[("train", b"text\tlabel\ngood\t1\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train has no column `text` for the text; found `text\tlabel`; it seems to be separated by tabs: set data.format: tsv",
    },
    Case {
        name: "semicolons",
        files: &[("train", b"\"id\";\"text\";\"label\"\n1;good, very good;1\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train has no column `text` for the text; found `id;\"text\";\"label\"`; it seems to be separated by `;`: set \
                  data.delimiter: \";\"",
    },
    Case {
        name: "commas where tabs were said",
        files: &[("train", b"label,text\n1,good\n")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train has no column `text` for the text; found `label,text`; it seems to be separated by commas: set data.format: csv",
    },
    Case {
        name: "JSON lines where a table was said",
        files: &[("train", b"{\"text\": \"good\"}\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train has no column `text` for the text; found `{\"text\": \"good\"}`; it seems to hold JSON lines: set data.format: \
                  jsonl",
    },
    Case {
        name: "words for no label",
        files: &[(
            "train",
            b"text,label\na,1\nb,nan\nc,0\nd, None \ne,\nf,N/A\ng,null\nh,NA\ni,#N/A\nj,no\n",
        )],
        format: Format::Csv,
        validation: None,
        message: "{}/train: 7 of 10 rows cannot be used: line 3: the label (`label`) is `nan`, a missing value; line 5: the label \
                  (`label`) is `None`, a missing value; line 6: the label (`label`) is empty; line 7: the label (`label`) is `N/A`, a \
                  missing value; line 8: the label (`label`) is `null`, a missing value; and 2 more; data.missingLabels can leave such \
                  rows out (drop) or take the word for a class (keep)",
    },
    Case {
        name: "a word for no label in validation",
        files: &[("train", b"text,label\na,1\nb,0\n"), ("val", b"text,label\na,NaN\n")],
        format: Format::Csv,
        validation: VALIDATION,
        message: "{}/val:2: the label (`label`) is `NaN`, a missing value; data.missingLabels can leave such rows out (drop) or take \
                  the word for a class (keep)",
    },
    Case {
        name: "a column twice",
        files: &[("train", b"text,label,text\ngood,1,bad\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train: the header names column `text` twice, so it is not clear which holds the text",
    },
    Case {
        name: "a row that is too long, after blank lines and a field of two lines",
        files: &[(
            "train",
            b"text,label\r\n\r\n\"two\nlines\",1\r\n\r\ngood, very good,1\r\n",
        )],
        format: Format::Csv,
        validation: None,
        message: "{}/train:6: 3 fields, expected 2 as in the header; a field that holds a comma must be wrapped in double quotes",
    },
    Case {
        name: "a row that is too short",
        files: &[("train", b"\xef\xbb\xbftext\tlabel\ngood\t1\nbad\n")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train:3: 1 field, expected 2 as in the header",
    },
    Case {
        name: "a quote that is never closed",
        files: &[("train", b"text,label\ngood,1\n\"bad,0\nfine,1\nugly,0\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train:3: a quoted field that opens in this row is never closed; if quotes are plain text here, set quoting: none",
    },
    Case {
        name: "plain quotes that hide nothing, and an empty label",
        files: &[("train", b"text,label\n\"good,1\nbad, \n")],
        format: Format::PlainCsv,
        validation: None,
        message: "{}/train:3: the label (`label`) is empty",
    },
    Case {
        name: "an empty text",
        files: &[("train", b"text\tlabel\ngood\t1\n  \t0\n")],
        format: Format::Tsv,
        validation: None,
        message: "{}/train:3: the text (`text`) is empty",
    },
    Case {
        name: "bytes that are not UTF-8",
        files: &[("train", b"text,label\ngood,1\ncaf\xe9,0\n")],
        format: Format::Csv,
        validation: None,
        message: "{}/train:3: not UTF-8 text",
    },
    Case {
        name: "many rows of many kinds: all are counted, the first are listed",
        files: &[(
            "train",
            b"text,label\ngood,1\n,0\nbad\ngood,\n\xff,1\na,b,c\n,1\nfine,0\n\"ugly,0\n",
        )],
        format: Format::Csv,
        validation: None,
        message: "{}/train: 7 of 9 rows cannot be used: line 3: the text (`text`) is empty; line 4: 1 field, expected 2 as in the header; \
                  line 5: the label (`label`) is empty; line 6: not UTF-8 text; line 7: 3 fields, expected 2 as in the header; a field \
                  that holds a comma must be wrapped in double quotes; and 2 more",
    },
    Case {
        name: "lines that end with CR alone",
        files: &[("train", b"text,label\rgood,1\r\"two\rlines\",0\rbad\r")],
        format: Format::Csv,
        validation: None,
        message: "{}/train:5: 1 field, expected 2 as in the header",
    },
    Case {
        name: "a label that only validation has",
        files: &[
            ("train", b"text,label\na,10\nb,9\nc,x\n"),
            ("val", b"text,label\nd,9\ne,11\n"),
        ],
        format: Format::Csv,
        validation: VALIDATION,
        message: "validation: class `11` is not among the 3 classes of train (`10`, `9`, `x`); first seen at val:3",
    },
    Case {
        name: "a label of validation that looks like one of train",
        files: &[
            ("train", "text,label\na,caf\u{e9}\nb,x\n".as_bytes()),
            ("val", "text,label\nc,cafe\u{301}\n".as_bytes()),
        ],
        format: Format::Csv,
        validation: VALIDATION,
        message: "validation: class `cafe\u{301}` is not among the 2 classes of train (`caf\u{e9}`, `x`); first seen at val:2; it looks like \
                  `caf\u{e9}` of train: `e` U+0065, U+0301 here, `\u{e9}` U+00E9 there",
    },
    Case {
        name: "one label",
        files: &[("train", b"text,label\na,1\nb,1\n")],
        format: Format::Csv,
        validation: None,
        message: "train: {}/train has one class, `1`; a classifier needs at least two",
    },
];

pub(crate) const IMAGE_TABLES: &[Case] = &[
    Case {
        name: "images that are not there, and one that is a folder",
        files: &[
            ("train", b"image,label\na.jpg,1\nb.jpg,0\nin,1\n/nowhere/c.jpg,0\n"),
            ("b.jpg", b"x"),
            ("in/", b""),
        ],
        format: Format::Images,
        validation: None,
        message: "{}/train: 3 of 4 rows cannot be used: line 2: the image {}/a.jpg does not exist; line 4: the image {}/in is no file; \
                  line 5: the image /nowhere/c.jpg does not exist",
    },
    Case {
        name: "an empty path and a URI of the network",
        files: &[("train", b"image,label\n ,1\ns3://bucket/b.jpg,0\n")],
        format: Format::Images,
        validation: None,
        message: "{}/train: 2 of 2 rows cannot be used: line 2: the image (`image`) is empty; line 3: the image s3://bucket/b.jpg must be a \
                  `file://` URI or an absolute path: `s3://` is not supported, found `s3://bucket/b.jpg`",
    },
    Case {
        name: "no column of images",
        files: &[("train", b"path,label\na.jpg,1\n")],
        format: Format::Images,
        validation: None,
        message: "{}/train has no column `image` for the image; found `path`, `label`",
    },
    Case {
        name: "an image of JSON lines that is not there",
        files: &[
            (
                "train",
                b"{\"image\": \"a.jpg\", \"label\": 1}\n{\"image\": \"b.jpg\", \"label\": 0}\n",
            ),
            ("a.jpg", b"x"),
        ],
        format: Format::ImageLines,
        validation: None,
        message: "{}/train:2: the image {}/b.jpg does not exist",
    },
];
