//! A metric of one class chooses the best checkpoint, ends training and lowers the learning rate: by scikit-learn's values and PyTorch's rates.

use firn_core::identifiers::RankIdentity;
use firn_core::metrics::watched;
use firn_core::spec::{EarlyStopping, JobSpec, MetricName};
use firn_core::state::{FailureReason, LivingProcess, Step, TrainingEnd};
use firn_core::{Directive, Input, Reply, queries};
use serde::Deserialize;

use crate::bench::*;

#[derive(Deserialize)]
struct Golden {
    predicted: Vec<Vec<u32>>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    metric: String,
    class: Option<String>,
    values: Vec<f64>,
    best: u32,
    stops_after: u32,
    rates: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/one_class.json")).unwrap()
}

impl Case {
    fn metric(&self) -> MetricName {
        MetricName::find(&self.metric).unwrap()
    }

    fn name(&self) -> String {
        watched::name(&self.metric, self.class.as_deref().unwrap_or_default())
    }
}

fn spec_by(case: &Case) -> JobSpec {
    let mut spec = spec_on("ants", 1);
    spec.training.epochs = 8;
    spec.training.best_metric = case.metric();
    spec.training.best_metric_class = case.class.clone();
    spec
}

fn training(spec: JobSpec, predicted: &[Vec<u32>]) -> (Coordinator, RankIdentity) {
    let mut coordinator = Coordinator::new();
    let rank = coordinator.training_job(spec, &TRAIN_AND_VALIDATION).remove(0);
    coordinator.predicted = predicted.to_vec();
    (coordinator, rank)
}

/// Trains as each directive tells, until none asks for an epoch; the peaks that they told.
fn run(coordinator: &mut Coordinator, rank: &RankIdentity) -> Vec<f64> {
    let (mut peaks, mut next) = (Vec::new(), coordinator.world(rank).next);
    while let Directive::TrainEpoch {
        epoch,
        peak_learning_rate,
    } = next
    {
        peaks.push(peak_learning_rate);
        let first = 4 * u64::from(epoch);
        let steps = (first..first + 4).map(|step| Step {
            learning_rate: peak_learning_rate,
            ..Coordinator::step(step, epoch)
        });
        coordinator.accept(Input::StepsCommitted {
            identity: rank.clone(),
            steps: steps.collect(),
        });
        next = coordinator.train(std::slice::from_ref(rank), epoch);
        coordinator.crash();
        let living = LivingProcess {
            process: rank.process.clone(),
            pid: 100,
        };
        let (_, unwanted) = coordinator.attach_with(description("w0", &["cpu"]), &[living]);
        assert!(unwanted.is_empty());
        assert_eq!(
            queries::next_directive(coordinator.job("ants")),
            next,
            "a coordinator that was killed tells the same"
        );
    }
    peaks
}

#[test]
fn the_best_checkpoint_is_that_of_the_best_epoch_of_the_class() {
    let Golden { predicted, cases } = golden();
    for case in &cases {
        let (mut coordinator, rank) = training(spec_by(case), &predicted);
        run(&mut coordinator, &rank);
        let job = coordinator.job("ants");
        let shown: Vec<f64> = job
            .run
            .evaluations
            .iter()
            .map(|evaluation| queries::shown_metrics(job, evaluation)[&case.name()])
            .collect();
        assert_eq!(shown.len(), case.values.len());
        let is_same = shown
            .iter()
            .zip(&case.values)
            .all(|(found, expected)| (found - expected).abs() < 1e-12);
        assert!(is_same, "{}: {shown:?}, of scikit-learn {:?}", case.name(), case.values);
        assert_eq!(job.run.best_epoch, Some(case.best), "{}", case.name());
    }
    let best = |name: &str| cases.iter().find(|case| case.name() == name).map(|case| case.best);
    assert_ne!(
        best("f1/ants"),
        best("f1/bees"),
        "the classes would not show a difference"
    );
    assert_ne!(best("f1/ants"), best("f1_macro"));
}

#[test]
fn training_stops_when_the_class_improves_no_more_and_says_which_it_was() {
    let Golden { predicted, cases } = golden();
    for case in &cases {
        let mut spec = spec_by(case);
        spec.training.early_stopping = Some(EarlyStopping {
            metric: case.metric(),
            class: case.class.clone(),
            patience: 2,
            min_delta: 0.0,
        });
        let (mut coordinator, rank) = training(spec, &predicted);
        let epochs = run(&mut coordinator, &rank).len();
        assert_eq!(epochs, case.stops_after as usize, "{}", case.name());
        let end = coordinator.job("ants").run.training_end;
        assert!(
            matches!(end, Some(TrainingEnd::EarlyStopped { .. })),
            "{}: {end:?}",
            case.name()
        );
        coordinator.finish(&rank);
        let job = coordinator.job("ants");
        let conditions = queries::conditions(&coordinator.state, job);
        let message = &conditions.last().unwrap().message;
        let expected = format!("validation/{} did not improve for 2 evaluations", case.name());
        assert!(message.starts_with(&expected), "{message}");
    }
}

#[test]
fn the_rate_falls_when_the_class_improves_no_more() {
    let Golden { predicted, cases } = golden();
    for case in &cases {
        let mut spec = spec_by(case);
        spec.training.schedule.shape = halved_unless_better(case.metric(), case.class.clone());
        let (mut coordinator, rank) = training(spec, &predicted);
        let peaks = run(&mut coordinator, &rank);
        assert_eq!(peaks, case.rates[..peaks.len()], "{}", case.name());
    }
}

fn refused(class: &str, validation: [u64; 2]) -> String {
    let mut watching = spec("ants");
    watching.training.best_metric = MetricName::named("f1");
    watching.training.best_metric_class = Some(class.to_owned());
    let mut coordinator = Coordinator::new();
    coordinator.attach_cpus(&["a"]);
    coordinator.submit(watching);
    let ranks = coordinator.bring_up();
    let mut found = dataset(&TRAIN_AND_VALIDATION);
    found.splits[1].class_counts = validation.to_vec();
    let Reply::JobFailed(failure) = coordinator.register(&ranks[0], found) else {
        panic!("the job fails")
    };
    assert_eq!(failure.reason, FailureReason::Misconfigured);
    failure.message
}

#[test]
fn a_class_that_the_data_does_not_have_fails_the_job_before_it_trains() {
    assert_eq!(
        refused("bee", [10, 10]),
        "spec.training.bestMetricClass: expected one of ants, bees, which the data has, found `bee`"
    );
    assert_eq!(
        refused("bees", [20, 0]),
        "spec.training.bestMetricClass: expected a class that the validation split has, found `bees`, of which it has no sample: \
         `validation/f1/bees` would always be 0"
    );
}
