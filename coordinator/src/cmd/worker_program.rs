//! Where the program `firn-worker` is, for the verbs that start it on this machine.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::error::CommandError;

/// The executable of this process.
pub(super) fn own() -> Result<PathBuf, CommandError> {
    env::current_exe().map_err(CommandError::file("find the executable of", "this process"))
}

/// It is named by FIRN_WORKER, stands beside the executable `own`, or is on the PATH.
pub(super) fn find(own: &Path) -> Result<PathBuf, CommandError> {
    let beside = own.with_file_name("firn-worker");
    let worker = first(
        beside.clone(),
        env::var_os("FIRN_WORKER").map(PathBuf::from),
        env::var_os("PATH").unwrap_or_default().as_ref(),
    );
    worker.ok_or_else(|| {
        CommandError::Usage(format!(
            "cannot find the program firn-worker: it is not {}, FIRN_WORKER does not name it, and it is not on the PATH",
            beside.display()
        ))
    })
}

fn first(beside: PathBuf, named: Option<PathBuf>, path: &OsStr) -> Option<PathBuf> {
    let on_path = env::split_paths(path).map(|folder| folder.join("firn-worker"));
    named
        .into_iter()
        .chain([beside])
        .chain(on_path)
        .find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_worker_is_looked_for_by_name_then_beside_then_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = folder.path().join(name).join("firn-worker");
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        let (beside, named, on_path) = (place("beside"), place("named"), place("path"));
        let path = on_path.parent().unwrap().as_os_str().to_owned();
        let find = || first(beside.clone(), Some(named.clone()), &path);
        assert_eq!(find(), None);
        for program in [&on_path, &beside, &named] {
            fs::write(program, "").unwrap();
            assert_eq!(find().as_ref(), Some(program));
        }
    }
}
