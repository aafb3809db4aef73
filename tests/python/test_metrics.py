"""The reported metrics are scikit-learn's on the predictions that the job left, to 1e-9."""

import numpy as np
import pytest
from conftest import job, run_job
from PIL import Image
from sklearn import metrics as sk


def write_images(folder, counts, seed):
    """Noise of a tint for each class: enough for a head on random features to learn something, not everything."""
    random = np.random.default_rng(seed)
    for index, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            tint = random.normal(index * 12, 25, (1, 1, 3))
            pixels = np.clip(random.normal(90, 60, (40, 48, 3)) + tint, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03}.jpg", quality=90)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    # Validation has no `elm` at all, and two samples of `rowan` in training are too few for the head to ever predict it.
    train = write_images(folder / "train", {"ash": 40, "beech": 40, "elm": 30, "rowan": 2}, 1)
    validation = write_images(folder / "validation", {"ash": 21, "beech": 20, "rowan": 9}, 2)
    test = write_images(folder / "test", {"ash": 11, "beech": 12, "elm": 10, "rowan": 3}, 3)
    spec = job(
        "trees",
        {"architecture": "resnet18", "freeze": {"through": "all"}},
        {
            "format": "imagefolder",
            "train": {"uri": str(train)},
            "validation": {"uri": str(validation)},
            "test": {"uri": str(test)},
            "preprocessing": {"resize": 40, "crop": 32},
        },
        {"epochs": 3, "batchSize": 24, "optimizer": {"learningRate": 0.01}},
    )
    return run_job(spec, folder)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_metric_is_scikit_learns(finished, split):
    rows = finished.predictions(split)
    reported = finished.metrics[split]["metrics"]
    classes = finished.metrics["classes"]
    truth = np.array([classes.index(row["label"]) for row in rows])
    predicted = np.array([classes.index(row["predicted"]) for row in rows])
    scores = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
    assert (scores.argmax(1) == predicted).all()
    assert len(rows) == finished.metrics[split]["samples"] == len({row["sample"] for row in rows})

    labels = range(len(classes))
    expected = {
        "accuracy": sk.accuracy_score(truth, predicted),
        "loss": -np.log(scores[np.arange(len(truth)), truth]).mean(),
    }
    for average in ("macro", "micro", "weighted"):
        options = {"labels": labels, "average": average, "zero_division": 0}
        expected[f"precision_{average}"] = sk.precision_score(truth, predicted, **options)
        expected[f"recall_{average}"] = sk.recall_score(truth, predicted, **options)
        expected[f"f1_{average}"] = sk.f1_score(truth, predicted, **options)
    for name, value in expected.items():
        assert reported[name] == pytest.approx(value, abs=1e-9), name

    confusion = sk.confusion_matrix(truth, predicted, labels=labels)
    assert np.array(finished.metrics[split]["confusion"]).reshape(confusion.shape).tolist() == confusion.tolist()
    per_class = sk.precision_recall_fscore_support(truth, predicted, labels=labels, zero_division=0)
    for index, row in enumerate(finished.metrics[split]["perClass"]):
        found = [row["precision"], row["recall"], row["f1"], row["support"]]
        assert found == pytest.approx([column[index] for column in per_class], abs=1e-9)


def test_the_case_has_a_class_without_true_and_one_without_predicted_samples(finished):
    per_class = {row["class"]: row for row in finished.metrics["validation"]["perClass"]}
    assert per_class["elm"]["support"] == 0
    assert not any(row["predicted"] == "rowan" for row in finished.predictions("validation"))


@pytest.mark.parametrize("split", ["validation", "test"])
def test_average_precision_is_scikit_learns_also_where_a_class_is_missing(finished, split):
    rows = finished.predictions(split)
    classes = finished.metrics["classes"]
    truth = np.array([[row["label"] == name for name in classes] for row in rows])
    scores = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
    expected = sk.average_precision_score(truth, scores, average="macro")
    assert finished.metrics[split]["metrics"]["average_precision"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_what_needs_the_scores_of_all_samples_is_scikit_learns(finished, split):
    rows = finished.predictions(split)
    classes = finished.metrics["classes"]
    labels = range(len(classes))
    truth = np.array([classes.index(row["label"]) for row in rows])
    scores = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
    expected = {
        "log_loss": sk.log_loss(truth, scores, labels=labels),
        "brier_score": sk.brier_score_loss(truth, scores, labels=labels),
        "top_2_accuracy": sk.top_k_accuracy_score(truth, scores, k=2, labels=labels),
        "top_3_accuracy": sk.top_k_accuracy_score(truth, scores, k=3, labels=labels),
        "roc_auc_ovr_weighted": sk.roc_auc_score(truth, scores, multi_class="ovr", average="weighted", labels=labels),
        "roc_auc_ovo": sk.roc_auc_score(truth, scores, multi_class="ovo", labels=labels),
        "roc_auc_ovo_weighted": sk.roc_auc_score(truth, scores, multi_class="ovo", average="weighted", labels=labels),
    }
    reported = finished.metrics[split]["metrics"]
    for name, value in expected.items():
        assert reported[name] == pytest.approx(value, abs=1e-9), name


def test_roc_auc_on_the_test_split_is_scikit_learns(finished):
    rows = finished.predictions("test")
    classes = finished.metrics["classes"]
    truth = np.array([classes.index(row["label"]) for row in rows])
    scores = np.array([[float(row[name]) for name in list(row)[4:]] for row in rows])
    expected = np.mean([sk.roc_auc_score(truth == index, scores[:, index]) for index in range(len(classes))])
    assert finished.metrics["test"]["metrics"]["roc_auc"] == pytest.approx(expected, abs=1e-9)
