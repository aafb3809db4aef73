//! For how long an operator has seen a job wait in vain.
//!
//! It is remembered, and not read from the resource: what was written there may be over by now, and an operator that was away gives everybody the
//! whole time again.

use std::time::Instant;

/// What may come of the pods of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outlook {
    /// They run, or may come without anybody's help.
    #[default]
    Open,
    /// They start. An attempt that will fail again looks so, too.
    Starting,
    /// Only a person can help.
    Vain,
}

/// Seconds for which waiting has been vain without a break; `None`: it is not, or was never seen to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waited {
    /// For pods that cannot start.
    pub for_pods: Option<u32>,
    /// For the Job of the pods, which the API server refuses.
    pub for_job: Option<u32>,
}

/// Since when waiting has been vain.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waiting {
    for_pods: Option<Instant>,
    for_job: Option<Instant>,
}

impl Waiting {
    pub(super) fn so_far(&self) -> Waited {
        let seconds = |since: Instant| u32::try_from(since.elapsed().as_secs()).unwrap_or(u32::MAX);
        Waited {
            for_pods: self.for_pods.map(seconds),
            for_job: self.for_job.map(seconds),
        }
    }

    /// The pods look so.
    pub(super) fn note_pods(&mut self, outlook: Outlook) {
        match outlook {
            Outlook::Open => self.for_pods = None,
            Outlook::Starting => {}
            Outlook::Vain => self.for_pods = self.for_pods.or_else(|| Some(Instant::now())),
        }
    }

    /// The Job was refused, or not.
    pub(super) fn note_job(&mut self, is_refused: bool) {
        self.for_job = is_refused.then(|| self.for_job.unwrap_or_else(Instant::now));
    }
}
