//! What the libraries of the published weights compute with an export. One Python serves all tests, since it takes seconds to load them.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

use serde_json::Value;

use crate::support::*;

/// `reference/models.py check`, which waits for folders.
struct Python {
    /// Nobody waits for it.
    _process: Child,
    folders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// It ends with this process, when nobody can name it another folder.
static PYTHON: LazyLock<Mutex<Option<Python>>> = LazyLock::new(|| Mutex::new(Python::start()));

impl Python {
    /// One with torch, torchvision and transformers, if there is one.
    fn start() -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let candidates = [
            std::env::var("FIRN_REFERENCE_PYTHON").unwrap_or_default(),
            root.join(".python/bin/python").to_string_lossy().into_owned(),
            "python3".to_owned(),
        ];
        let mut candidates = candidates.iter().filter(|python| !python.is_empty());
        candidates.find_map(|python| Self::of(python).ok().flatten())
    }

    /// `None`: it lacks the libraries.
    fn of(python: &str) -> io::Result<Option<Self>> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/models.py");
        let mut child = Command::new(python)
            .args([script.as_os_str(), "check".as_ref()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let (folders, answers) = (child.stdin.take(), child.stdout.take());
        let mut python = Self {
            folders: folders.expect("it is piped"),
            answers: BufReader::new(answers.expect("it is piped")),
            _process: child,
        };
        Ok((python.line()? == "ready\n").then_some(python))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line)
    }

    fn ask(&mut self, folder: &Path) -> io::Result<Value> {
        writeln!(self.folders, "{}", folder.display())?;
        Ok(serde_json::from_str(&self.line()?)?)
    }
}

/// Checks that the library loads the export in `folder` strictly and computes these logits with it.
pub(super) fn same_in_python(folder: &Path, logits: &[f64]) {
    // What another test found wrong is said there.
    let mut python = PYTHON.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(python) = &mut *python else {
        // Written past the capture of the test harness, so that the skip is seen.
        let _ = writeln!(
            io::stderr(),
            "skipped: no Python with torch, torchvision and transformers; name one in FIRN_REFERENCE_PYTHON"
        );
        return;
    };
    let answer = python.ask(folder).expect("it answers each folder");
    let theirs: Vec<f64> = serde_json::from_value(answer["logits"].clone())
        .unwrap_or_else(|_| panic!("{}", answer["error"].as_str().unwrap_or_default()));
    close(
        "exported model in Python: logits",
        &tensor(logits, &[logits.len() as i64]),
        &theirs,
        1e-4,
    );
}
