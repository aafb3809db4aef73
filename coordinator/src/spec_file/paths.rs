//! Paths in a spec file: relative ones are relative to the file, and what a shell would expand is refused rather than taken literally.

use std::path::Path;

/// The path, made absolute against the folder of the file.
pub(super) fn absolute(written: &str, folder: &Path) -> Result<String, String> {
    // URIs, right or wrong, are the coordinator's to judge.
    if written.is_empty() || written.starts_with('/') || written.starts_with("file:") || written.contains("://") {
        return Ok(written.to_owned());
    }
    if written.starts_with('~') || written.starts_with('$') {
        let what = if written.starts_with('~') {
            "`~` is"
        } else {
            "variables are"
        };
        return Err(format!(
            "{what} not expanded in a spec: write the full path, or one relative to the spec file; found `{written}`"
        ));
    }
    let joined =
        std::path::absolute(folder.join(written)).map_err(|error| format!("`{written}` is no path: {error}"))?;
    let path = joined.into_os_string().into_string();
    path.map_err(|path| format!("the folder of the spec file must be UTF-8, found {path:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_relative_to_the_file() {
        let folder = Path::new("/home/ada/jobs");
        for (written, expected) in [
            ("data/train", "/home/ada/jobs/data/train"),
            ("./data/train.tsv", "/home/ada/jobs/data/train.tsv"),
            ("../weights.safetensors", "/home/ada/jobs/../weights.safetensors"),
            ("/data/train", "/data/train"),
            ("file:///data/train", "file:///data/train"),
            ("s3://bucket/train", "s3://bucket/train"),
            ("", ""),
        ] {
            assert_eq!(absolute(written, folder).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_a_shell_would_expand_is_refused() {
        for written in ["~/data", "~ada/data", "$HOME/data", "${DATA}/train"] {
            assert!(absolute(written, Path::new("/")).unwrap_err().contains("not expanded"));
        }
    }
}
