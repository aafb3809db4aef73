//! Compiles the protocol definitions without an installed `protoc`.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "firn/v1alpha1/job.proto",
        "firn/v1alpha1/worker.proto",
        "firn/v1alpha1/rank.proto",
        "firn/v1alpha1/verification.proto",
    ];
    let descriptors = protox::compile(files, ["."])?;

    // Kept for server reflection and for naming unknown fields in specs.
    let out = PathBuf::from(env::var("OUT_DIR")?).join("firn_descriptor.bin");
    fs::write(out, descriptors.encode_to_vec())?;

    let mut config = tonic_prost_build::configure().btree_map(".");
    // The messages that people write as YAML: `FineTuneJob` and all below it that is not status.
    for message in SPEC_MESSAGES {
        config = config
            .type_attribute(
                format!(".firn.v1alpha1.{message}"),
                "#[derive(serde::Serialize, serde::Deserialize)]",
            )
            .type_attribute(
                format!(".firn.v1alpha1.{message}"),
                "#[serde(rename_all = \"camelCase\", deny_unknown_fields, default)]",
            );
    }
    for written_by_coordinator in ["FineTuneJob.status", "Metadata.resource_name", "Metadata.create_time"] {
        config = config.field_attribute(format!(".firn.v1alpha1.{written_by_coordinator}"), "#[serde(skip)]");
    }
    config.compile_fds(descriptors)?;

    println!("cargo:rerun-if-changed=firn");
    Ok(())
}

const SPEC_MESSAGES: [&str; 21] = [
    "FineTuneJob",
    "Metadata",
    "JobSpec",
    "TaskSpec",
    "ModelSpec",
    "FreezeSpec",
    "HeadSpec",
    "DataSpec",
    "SplitSpec",
    "PreprocessingSpec",
    "ColumnsSpec",
    "QuarantineSpec",
    "TrainingSpec",
    "OptimizerSpec",
    "ScheduleSpec",
    "LossSpec",
    "EarlyStoppingSpec",
    "ResourcesSpec",
    "WorkersSpec",
    "RestartPolicy",
    "ArtifactsSpec",
];
