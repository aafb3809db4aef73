//! The data of a job: format, splits and preprocessing, with the defaults that depend on the architecture.

use firn_core::spec::{DataFormat, Modality, Preprocessing, SplitSource};
use firn_proto::v1alpha1 as wire;

use super::{fields::Fields, job_spec::Chosen};

/// A data spec less its format, which is known before.
pub(super) struct Data {
    pub(super) train: String,
    pub(super) validation: Option<SplitSource>,
    pub(super) test: Option<SplitSource>,
    pub(super) preprocessing: Preprocessing,
    pub(super) max_quarantined: u32,
}

const FORMATS: [&str; 4] = ["imagefolder", "csv", "tsv", "jsonl"];

/// The layout on disk; `None` (noted) if it is not one that Firn reads.
pub(super) fn format(fields: &mut Fields, written: &wire::DataSpec) -> Option<DataFormat> {
    let columns = written.columns.clone().unwrap_or_default();
    let or_default = |name: String, default: &str| if name.is_empty() { default.to_owned() } else { name };
    let (text, label) = (or_default(columns.text, "text"), or_default(columns.label, "label"));
    let format = written.format.as_str();
    let quoted = match (format, written.quoting.as_str()) {
        (_, "") => None,
        ("imagefolder" | "jsonl", _) => {
            fields.absent(true, "spec.data.quoting", "only `csv` and `tsv` have quoting");
            None
        }
        (_, "double") => Some(true),
        (_, "none") => Some(false),
        (_, other) => {
            fields.unknown_word("spec.data.quoting", other, &["double", "none"]);
            None
        }
    };
    match format {
        "imagefolder" => {
            let reason = "the classes of an `imagefolder` are its folders";
            fields.absent(written.columns.is_some(), "spec.data.columns", reason);
            Some(DataFormat::ImageFolder)
        }
        "csv" => Some(DataFormat::Table {
            delimiter: ',',
            quoted: quoted.unwrap_or(true),
            text,
            label,
        }),
        "tsv" => Some(DataFormat::Table {
            delimiter: '\t',
            quoted: quoted.unwrap_or(false),
            text,
            label,
        }),
        "jsonl" => Some(DataFormat::JsonLines { text, label }),
        other => {
            fields.unknown_word("spec.data.format", other, &FORMATS);
            None
        }
    }
}

/// Splits and preprocessing.
pub(super) fn data(fields: &mut Fields, written: &wire::DataSpec, chosen: &Chosen) -> Data {
    let train = written.train.clone().unwrap_or_default();
    fields.absent(
        train.split.is_some(),
        "spec.data.train.split",
        "train is what the others are split from",
    );
    fields.require(!train.uri.is_empty(), "spec.data.train.uri", || {
        "is required".to_owned()
    });
    Data {
        train: fields.path("spec.data.train.uri", &train.uri).unwrap_or_default(),
        validation: split(fields, "spec.data.validation", written.validation.as_ref()),
        test: split(fields, "spec.data.test", written.test.as_ref()),
        preprocessing: preprocessing(fields, &written.preprocessing.clone().unwrap_or_default(), chosen),
        max_quarantined: written.quarantine.unwrap_or_default().max_samples.unwrap_or(0),
    }
}

fn split(fields: &mut Fields, field: &str, written: Option<&wire::SplitSpec>) -> Option<SplitSource> {
    let written = written?;
    match (written.uri.as_str(), written.split) {
        ("", Some(fraction)) => Some(SplitSource::FractionOfTrain(fraction)),
        ("", None) => {
            fields.violation(field, "needs `uri` or `split`");
            // Stands for the split that was meant, so that rules which need one do not speak of it too.
            Some(SplitSource::Path(String::new()))
        }
        (uri, None) => Some(SplitSource::Path(
            fields.path(&format!("{field}.uri"), uri).unwrap_or_default(),
        )),
        (_, Some(_)) => {
            fields.violation(field, "must have `uri` or `split`, found both");
            Some(SplitSource::Path(String::new()))
        }
    }
}

const FIELD: &str = "spec.data.preprocessing";

fn preprocessing(fields: &mut Fields, written: &wire::PreprocessingSpec, chosen: &Chosen) -> Preprocessing {
    let image_only = [
        ("resize", written.resize.is_some()),
        ("crop", written.crop.is_some()),
        ("mean", !written.mean.is_empty()),
        ("std", !written.std.is_empty()),
    ];
    for (name, is_set) in image_only {
        chosen.only_for(fields, Modality::Image, is_set, &format!("{FIELD}.{name}"));
    }
    chosen.only_for(
        fields,
        Modality::Text,
        written.max_length.is_some(),
        &format!("{FIELD}.maxLength"),
    );
    match chosen.architecture.default_preprocessing() {
        Preprocessing::Image {
            resize,
            crop,
            mean,
            std,
        } => Preprocessing::Image {
            resize: written.resize.unwrap_or(resize),
            crop: written.crop.unwrap_or(crop),
            mean: channels(fields, &format!("{FIELD}.mean"), &written.mean, mean),
            std: channels(fields, &format!("{FIELD}.std"), &written.std, std),
        },
        Preprocessing::Text { max_length } => Preprocessing::Text {
            max_length: written.max_length.or(max_length),
        },
    }
}

fn channels(fields: &mut Fields, field: &str, written: &[f64], default: [f64; 3]) -> [f64; 3] {
    if written.is_empty() {
        return default;
    }
    written.try_into().unwrap_or_else(|_| {
        fields.violation(
            field,
            format!("must be three numbers, one for each channel, found {}", written.len()),
        );
        default
    })
}
