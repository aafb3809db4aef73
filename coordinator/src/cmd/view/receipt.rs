//! The receipt of `firn verify`, for a person. Epochs, steps and ranks count from 0 here: findings name records, and so do records.

pub(crate) mod document;
#[cfg(test)]
mod samples;

use firn_proto::v1alpha1::{Finding, VerificationReceipt, VerifiedFile, VerifiedJournal, VerifiedPass};

use super::{
    Format,
    humanise::{bytes, count, counted},
    table::{indent, table, text_table},
};
use crate::cmd::{connection::job_id, console::Paint};

/// Digits of a digest that are shown where all would not fit.
const SHORT: usize = 12;

/// All of it; [`Format::Wide`] adds formations, checkpoints and whole digests.
pub(crate) fn describe(receipt: &VerificationReceipt, format: Format, paint: Paint) -> String {
    let wide = format == Format::Wide;
    let mut text = facts(receipt, paint, wide);
    let mut section = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{}\n{}", paint.bold(title), indent(&body, "  ")));
        }
    };
    section("Findings", findings(receipt, paint));
    section("Training", epochs(receipt));
    section("Passes", passes(receipt));
    section("Losses", losses(receipt));
    section("Taken back", rollbacks(receipt));
    if wide {
        section("Generations", generations(receipt));
        section("Checkpoints", checkpoints(receipt));
    }
    section("Files", files(receipt, paint, wide));
    text
}

/// One sentence: proven or not, and of what.
pub(crate) fn verdict(receipt: &VerificationReceipt, paint: Paint) -> String {
    let found = receipt.findings.len() as u64 + receipt.more_findings;
    if !receipt.proven {
        return paint.bad(&format!("not proven: {}", counted(found, "finding")));
    }
    let steps: u64 = receipt
        .epochs
        .iter()
        .map(|epoch| epoch.end_step - epoch.first_step)
        .sum();
    let evaluations = receipt
        .passes
        .iter()
        .filter(|pass| pass.kind == "evaluate" && pass.complete);
    let what = format!(
        "{} of {} and {}",
        counted(steps, "step"),
        counted(receipt.epochs.len() as u64, "epoch"),
        counted(evaluations.count() as u64, "evaluation"),
    );
    let so_far = if receipt.outcome.is_empty() {
        " so far; the job goes on"
    } else {
        ""
    };
    paint.good(&format!("proven: {what}{so_far}"))
}

fn facts(receipt: &VerificationReceipt, paint: Paint, wide: bool) -> String {
    let digest = |text: &str| match wide {
        true => text.to_owned(),
        false => short(text),
    };
    let is_whole = receipt.journal.as_ref().is_some_and(|journal| !journal.head.is_empty());
    let outcome = match receipt.outcome.as_str() {
        "" if is_whole => "goes on",
        "" => "how it ended cannot be read",
        outcome => outcome,
    };
    let mut lines = vec![
        ("Job", format!("{} ({outcome})", job_id(&receipt.name))),
        ("Verdict", verdict(receipt, paint)),
    ];
    lines.push(("Journal", journal(&receipt.journal.clone().unwrap_or_default())));
    if !receipt.frozen_digest.is_empty() {
        lines.push(("Frozen", format!("BLAKE3 {}", digest(&receipt.frozen_digest))));
    }
    if !receipt.result_sha256.is_empty() {
        let best = receipt.best_epoch.unwrap_or_default();
        let checkpoint = digest(&receipt.result_sha256);
        lines.push(("Result", format!("checkpoint {checkpoint} of epoch {best}")));
    }
    if let Some(weights) = receipt.weights.as_ref().filter(|weights| !weights.state.is_empty()) {
        let state = match weights.state.as_str() {
            "verified" => paint.good("verified"),
            "not checked" => paint.warning("not checked"),
            state => paint.bad(state),
        };
        lines.push(("Weights", format!("{state}: {}", weights.detail)));
    }
    let line = |(title, value): &(&str, String)| format!("{:<10}{value}\n", format!("{title}:"));
    lines.iter().map(line).collect()
}

/// The head is shown whole: it is to be noted.
fn journal(journal: &VerifiedJournal) -> String {
    if journal.head.is_empty() {
        return "its chain is broken".to_owned();
    }
    let compacted = match journal.compacted {
        0 => String::new(),
        some => format!(" ({} of them without text)", count(some)),
    };
    format!(
        "{}{compacted}, head {}; {} of this job, {} to {}; coordinator epoch {}",
        counted(journal.records, "record"),
        journal.head,
        count(journal.job_records),
        journal.first_record,
        journal.last_record,
        journal.coordinator_epoch,
    )
}

fn findings(receipt: &VerificationReceipt, paint: Paint) -> String {
    let mut lines: Vec<String> = receipt
        .findings
        .iter()
        .map(|finding| match place(finding) {
            place if place.is_empty() => format!("{}: {}", paint.bad(&finding.flaw), finding.message),
            place => format!("{} ({place}): {}", paint.bad(&finding.flaw), finding.message),
        })
        .collect();
    if receipt.more_findings > 0 {
        lines.push(format!("and {} more", count(receipt.more_findings)));
    }
    lines.join("\n")
}

fn place(finding: &Finding) -> String {
    let mut places = Vec::new();
    let mut add = |name: &str, value: Option<String>| places.extend(value.map(|value| format!("{name} {value}")));
    add("record", finding.record.map(|record| record.to_string()));
    add("epoch", finding.epoch.map(|epoch| epoch.to_string()));
    add("step", finding.step.map(|step| step.to_string()));
    add("split", Some(finding.split.clone()).filter(|split| !split.is_empty()));
    add("shard", finding.shard.map(|shard| shard.to_string()));
    if !finding.samples.is_empty() {
        let samples: Vec<String> = finding.samples.iter().map(u64::to_string).collect();
        add("samples", Some(samples.join(" ")));
    }
    places.join(", ")
}

fn epochs(receipt: &VerificationReceipt) -> String {
    if receipt.epochs.is_empty() {
        return String::new();
    }
    let rows = receipt.epochs.iter().map(|epoch| {
        vec![
            epoch.epoch.to_string(),
            format!("{}-{}", epoch.first_step, epoch.end_step.saturating_sub(1)),
            generations_of(epoch.generations.keys()),
            format!("{}/{}", epoch.positions, receipt.train_samples),
            count(epoch.samples),
            count(epoch.set_aside),
            count(epoch.skipped),
        ]
    });
    let headers = [
        "EPOCH",
        "STEPS",
        "GENERATIONS",
        "POSITIONS",
        "SAMPLES",
        "SET ASIDE",
        "SKIPPED",
    ];
    text_table(&headers, rows.collect())
}

fn generations_of<'a>(generations: impl Iterator<Item = &'a u64>) -> String {
    let generations: Vec<String> = generations.map(u64::to_string).collect();
    generations.join(",")
}

fn passes(receipt: &VerificationReceipt) -> String {
    if receipt.passes.is_empty() {
        return String::new();
    }
    let name = |pass: &VerifiedPass| match pass.epoch {
        Some(epoch) => format!("{} {} after epoch {epoch}", pass.kind, pass.split),
        None => format!("{} {}", pass.kind, pass.split),
    };
    let rows = receipt.passes.iter().map(|pass| {
        vec![
            name(pass),
            format!("{}/{}", pass.shards_complete, pass.shards),
            generations_of(pass.generations.keys()),
            format!("{}/{}", pass.samples, pass.split_samples),
            count(pass.set_aside),
            if pass.complete { "complete" } else { "under way" }.to_owned(),
        ]
    });
    let headers = ["PASS", "SHARDS", "GENERATIONS", "SAMPLES", "SET ASIDE", "STATE"];
    text_table(&headers, rows.collect())
}

fn losses(receipt: &VerificationReceipt) -> String {
    let line = |loss: &firn_proto::v1alpha1::VerifiedLoss| {
        format!("generation {}: {}: {}\n", loss.generation, loss.reason, loss.message)
    };
    receipt.losses.iter().map(line).collect()
}

fn rollbacks(receipt: &VerificationReceipt) -> String {
    let line = |range: &firn_proto::v1alpha1::RolledBackSteps| {
        let again = match range.recomputed {
            true => "computed again",
            false => "not computed again yet",
        };
        format!(
            "steps {}-{} for generation {}: {again} (record {})\n",
            range.from,
            range.to.saturating_sub(1),
            range.generation,
            range.record,
        )
    };
    receipt.rollbacks.iter().map(line).collect()
}

fn generations(receipt: &VerificationReceipt) -> String {
    if receipt.generations.is_empty() {
        return String::new();
    }
    let rows = receipt.generations.iter().map(|gang| {
        vec![
            gang.generation.to_string(),
            gang.workers.join(","),
            gang.rank_zero.clone(),
            if gang.origin.is_empty() { "-" } else { &gang.origin }.to_owned(),
            gang.steps_done.to_string(),
            gang.steps_committed.to_string(),
            gang.record.to_string(),
        ]
    });
    let headers = [
        "GENERATION",
        "WORKERS",
        "RANK 0",
        "STATE FROM",
        "AT STEP",
        "COMMITTED",
        "RECORD",
    ];
    text_table(&headers, rows.collect())
}

fn checkpoints(receipt: &VerificationReceipt) -> String {
    if receipt.checkpoints.is_empty() {
        return String::new();
    }
    let rows = receipt.checkpoints.iter().map(|checkpoint| {
        vec![
            checkpoint.steps_done.to_string(),
            checkpoint.epochs_done.to_string(),
            checkpoint.fate.clone(),
            checkpoint.record.to_string(),
            checkpoint.sha256.clone(),
        ]
    });
    table(&["STEPS", "EPOCHS", "FATE", "RECORD", "SHA256"], rows.collect(), 5)
}

fn files(receipt: &VerificationReceipt, paint: Paint, wide: bool) -> String {
    if receipt.files.is_empty() {
        return String::new();
    }
    let state = |file: &VerifiedFile| {
        let word = match file.state.as_str() {
            "verified" => paint.good("verified"),
            "not checked" => paint.warning("not checked"),
            state => paint.bad(state),
        };
        match file.detail.is_empty() {
            true => word,
            false => format!("{word}: {}", file.detail),
        }
    };
    let rows = receipt.files.iter().map(|file| {
        vec![
            file.kind.clone(),
            file.name.clone(),
            bytes(file.size_bytes),
            if wide { file.sha256.clone() } else { short(&file.sha256) },
            state(file),
        ]
    });
    text_table(&["KIND", "NAME", "SIZE", "SHA256", "STATE"], rows.collect())
}

fn short(digest: &str) -> String {
    digest.chars().take(SHORT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proven_job_is_described_with_what_could_not_be_checked() {
        let expected = "\
Job:      reviews (Succeeded)
Verdict:  proven: 6 steps of 2 epochs and 2 evaluations
Journal:  140 records (20 of them without text), head 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef; 87 of this job, 21 to 139; coordinator epoch 2
Frozen:   BLAKE3 f00df00df00d
Result:   checkpoint 5555aaaa5555 of epoch 1
Weights:  verified: all 2 tensors of head.safetensors are those of the best checkpoint

Training
  EPOCH   STEPS   GENERATIONS   POSITIONS   SAMPLES   SET ASIDE   SKIPPED
  0       0-2     1,2           10/10       9         1           0
  1       3-5     3             10/10       9         1           1

Passes
  PASS                                SHARDS   GENERATIONS   SAMPLES   SET ASIDE   STATE
  scan train                          1/1      1             9/10      1           complete
  evaluate validation after epoch 0   2/2      1,2           20/20     0           complete
  evaluate validation after epoch 1   2/2      3             20/20     0           complete

Losses
  generation 1: NodeFailures: rank 1 on host-a was killed by signal 9

Taken back
  steps 3-4 for generation 3: computed again (record 77)

Files
  KIND         NAME                SIZE       SHA256         STATE
  checkpoint   after step 6        2.0 KiB    5555aaaa5555   verified
  artifact     model.safetensors   90.3 MiB   6666aaaa6666   not checked: lies at file://host-a/out/model.safetensors
";
        let text = describe(&samples::proven(), Format::Table, Paint::default());
        assert_eq!(text, expected);
    }

    #[test]
    fn findings_come_first_with_their_places() {
        let text = describe(&samples::tampered(), Format::Table, Paint::default());
        let expected = "\
Verdict:  not proven: 4 findings
Journal:  its chain is broken
";
        assert!(text.contains(expected), "{text}");
        let expected = "
Findings
  Journal (record 44): the journal is damaged
  Coverage (epoch 0, split train, samples 3 8): 2 training samples were not used in epoch 0
  and 2 more
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn a_job_that_goes_on_is_proven_so_far() {
        let mut receipt = samples::proven();
        receipt.outcome = String::new();
        let text = describe(&receipt, Format::Wide, Paint::default());
        assert!(text.starts_with("Job:      reviews (goes on)\n"), "{text}");
        assert!(text.contains("2 evaluations so far; the job goes on\n"), "{text}");
        assert!(text.contains("\nGenerations\n  GENERATION   WORKERS"), "{text}");
        assert!(text.contains("local-0,local-1   reviews-g1-r0   initial"), "{text}");
        assert!(text.contains("\nCheckpoints\n"), "{text}");
    }
}
