//! Compiles the protocol definitions without an installed `protoc`, into the files that `firn-proto` keeps.

use std::{env, fs, path::PathBuf};

use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "firn/v1alpha1/job.proto",
        "firn/v1alpha1/worker.proto",
        "firn/v1alpha1/rank.proto",
        "firn/v1alpha1/verification.proto",
        "firn/v1alpha1/access.proto",
    ];
    let descriptors = protox::compile(files, [".."])?;

    // Kept for server reflection and for naming unknown fields in specs.
    let out = PathBuf::from(env::var("OUT_DIR")?).join("firn_descriptor.bin");
    fs::write(out, descriptors.encode_to_vec())?;

    let mut config = tonic_prost_build::configure().btree_map(".");
    for message in spec_messages(&descriptors) {
        let message = format!(".firn.v1alpha1.{message}");
        config = config
            .type_attribute(&message, "#[derive(serde::Serialize, serde::Deserialize)]")
            .type_attribute(
                &message,
                "#[serde(rename_all = \"camelCase\", deny_unknown_fields, default)]",
            );
    }
    for written_by_coordinator in ["FineTuneJob.status", "Metadata.resource_name", "Metadata.create_time"] {
        config = config.field_attribute(format!(".firn.v1alpha1.{written_by_coordinator}"), "#[serde(skip)]");
    }
    config.compile_fds(descriptors)?;

    println!("cargo:rerun-if-changed=../firn");
    Ok(())
}

/// The messages that people write as YAML: `FineTuneJob` and all below it that is not status.
fn spec_messages(descriptors: &FileDescriptorSet) -> Vec<&str> {
    let messages: Vec<_> = descriptors.file.iter().flat_map(|file| &file.message_type).collect();
    let mut found = vec!["FineTuneJob"];
    let mut next = 0;
    while let Some(&name) = found.get(next) {
        next += 1;
        let message = messages.iter().find(|message| message.name() == name);
        let fields = message.into_iter().flat_map(|message| &message.field);
        for field in fields.filter(|field| field.name() != "status") {
            let below = field.type_name().strip_prefix(".firn.v1alpha1.");
            // The entries of a map are nested messages.
            if let Some(name) = below.filter(|name| !name.contains('.') && !found.contains(name)) {
                found.push(name);
            }
        }
    }
    found
}
