//! Questions that have no answer yet, asked again after every change of their job.
//!
//! Every rank of a gang always waits for news, and every step changes its job. If the callers were woken to ask again, each step would cost a
//! message and two turns of the scheduler for each rank; here it costs a look at the state.

use std::collections::BTreeMap;

use firn_core::{Reject, Reply, State, identifiers::JobId};
use tokio::sync::oneshot;

use super::changes::Touched;

/// Questions of one job that are kept before those of callers that have gone away are dropped.
const FEW: usize = 16;

/// A question whose answer is worth waiting for.
pub(super) trait OpenQuestion: Send {
    /// Looks at the state. Whether it is answered now.
    fn look(&mut self, state: &State) -> bool;

    /// Whether the caller has gone away.
    fn is_abandoned(&self) -> bool;
}

/// One that [`Reply::Wait`] leaves open.
pub(super) struct Asked<Q> {
    question: Q,
    /// `None`: it is answered.
    answer: Option<oneshot::Sender<Result<Reply, Reject>>>,
}

impl<Q: Fn(&State) -> Result<Reply, Reject> + Send> Asked<Q> {
    pub(super) fn new(question: Q, answer: oneshot::Sender<Result<Reply, Reject>>) -> Self {
        let answer = Some(answer);
        Self { question, answer }
    }
}

impl<Q: Fn(&State) -> Result<Reply, Reject> + Send> OpenQuestion for Asked<Q> {
    fn look(&mut self, state: &State) -> bool {
        match (self.question)(state) {
            Ok(Reply::Wait) => false,
            found => {
                // A caller that has gone away needs no answer.
                drop(self.answer.take().map(|answer| answer.send(found)));
                true
            }
        }
    }

    fn is_abandoned(&self) -> bool {
        self.answer.as_ref().is_none_or(oneshot::Sender::is_closed)
    }
}

/// Those of each job.
#[derive(Default)]
pub(super) struct OpenQuestions {
    jobs: BTreeMap<JobId, OfJob>,
}

#[derive(Default)]
struct OfJob {
    questions: Vec<Box<dyn OpenQuestion>>,
    /// So many were left when abandoned ones were last dropped.
    left: usize,
}

impl OpenQuestions {
    /// Asks a new one, and keeps it if it has no answer yet.
    pub(super) fn begin(&mut self, job: JobId, mut question: Box<dyn OpenQuestion>, state: &State) {
        if question.look(state) {
            return;
        }
        let kept = self.jobs.entry(job).or_default();
        // A job that does not change would gather them for ever.
        if kept.questions.len() >= FEW.max(2 * kept.left) {
            kept.questions.retain(|question| !question.is_abandoned());
            kept.left = kept.questions.len();
        }
        kept.questions.push(question);
    }

    /// Asks those of jobs that were touched.
    pub(super) fn ask(&mut self, touched: &Touched, state: &State) {
        for job in &touched.jobs {
            if let Some(kept) = self.jobs.get_mut(job) {
                kept.questions
                    .retain_mut(|question| !question.is_abandoned() && !question.look(state));
                if kept.questions.is_empty() {
                    self.jobs.remove(job);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use firn_core::Settings;

    use super::*;

    fn touched(job: &str) -> Touched {
        Touched {
            jobs: [JobId::from(job)].into(),
            ..Touched::default()
        }
    }

    fn waiting() -> (Box<dyn OpenQuestion>, oneshot::Receiver<Result<Reply, Reject>>) {
        let (answer, answered) = oneshot::channel();
        let question = |state: &State| match state.jobs_submitted {
            0 => Ok(Reply::Wait),
            _ => Ok(Reply::Done),
        };
        (Box::new(Asked::new(question, answer)), answered)
    }

    #[test]
    fn a_question_is_answered_by_the_change_of_its_job_that_answers_it() {
        let (mut open, mut state) = (OpenQuestions::default(), State::new(Settings::default()));
        let (question, mut answered) = waiting();
        open.begin("a".into(), question, &state);
        open.ask(&touched("a"), &state);
        assert!(answered.try_recv().is_err(), "it has no answer yet");
        state.jobs_submitted = 1;
        open.ask(&touched("b"), &state);
        assert!(answered.try_recv().is_err(), "another job has changed");
        open.ask(&touched("a"), &state);
        assert_eq!(answered.try_recv().unwrap(), Ok(Reply::Done));
        assert!(open.jobs.is_empty());
    }

    #[test]
    fn questions_of_callers_that_have_gone_away_do_not_gather() {
        let (mut open, state) = (OpenQuestions::default(), State::new(Settings::default()));
        let (question, mut answered) = waiting();
        open.begin("a".into(), question, &state);
        for _ in 0..10_000 {
            open.begin("a".into(), waiting().0, &state);
        }
        assert!(open.jobs[&JobId::from("a")].questions.len() <= FEW);
        open.ask(&touched("a"), &state);
        assert_eq!(
            open.jobs[&JobId::from("a")].questions.len(),
            1,
            "one caller still waits"
        );
        assert!(answered.try_recv().is_err());
    }
}
