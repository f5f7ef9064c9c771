"""Metrics against their definitions, written out over sets and loops, and against known numbers."""

import numpy as np
import pytest

import contraflow as cf
from contraflow import train as t

rng = np.random.default_rng(0)
SCORES = rng.normal(size=(97, 5)).astype(np.float32)
TRUE = rng.integers(0, 5, 97)
TRUE[TRUE == 4] = 3  # class 4 is predicted, never true
SAID = SCORES.argmax(1)


def in_batches(metric, prediction, target, size=10):
    """The running state over batches, the last one smaller."""
    state = metric.start
    for i in range(0, len(target), size):
        state = metric.update(
            state, cf.tensor(prediction[i : i + size]), cf.tensor(target[i : i + size])
        )
    return metric.result(state)


def by_sets(average, measure):
    """Precision, recall and F1 from sets of samples."""
    scores, weights = [], []
    for c in range(5):
        said = {i for i in range(97) if SAID[i] == c}
        true = {i for i in range(97) if TRUE[i] == c}
        hit = len(said & true)
        p = hit / len(said) if said else 0.0
        r = hit / len(true) if true else 0.0
        f = 2 * p * r / (p + r) if p + r else 0.0
        scores.append({"precision": p, "recall": r, "f1": f}[measure])
        weights.append(len(true))
    if average is None:
        return scores
    return np.average(scores, weights=weights if average == "weighted" else None)


def test_accuracy_counts_what_is_right():
    assert in_batches(t.accuracy, SCORES, TRUE) == np.mean(SAID == TRUE)
    assert t.accuracy(cf.tensor(SAID), cf.tensor(TRUE)) == np.mean(SAID == TRUE)


def test_accuracy_of_logits_probabilities_and_pixels():
    logits = cf.tensor([2.0, -1.0, 0.5, -3.0])
    assert t.accuracy(logits, cf.tensor([1, 0, 0, 0])) == 0.75
    assert t.accuracy(logits, cf.tensor([1.0, 0.0, 0.0, 0.0])) == 0.75
    soft = cf.tensor([[0.9, 0.1], [0.2, 0.8]])
    assert t.accuracy(cf.tensor([[3.0, 1.0], [2.0, 0.0]]), soft) == 0.5
    pixels = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
    labels = rng.integers(0, 3, (2, 4, 4))
    expected = np.mean(pixels.argmax(1) == labels)
    assert t.accuracy(cf.tensor(pixels), cf.tensor(labels)) == expected


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k(k):
    best = [set(np.argsort(-row)[:k]) for row in SCORES]
    expected = np.mean([c in chosen for c, chosen in zip(TRUE, best, strict=True)])
    assert in_batches(t.top_k(k), SCORES, TRUE) == expected
    assert t.top_k(k).name == f"top_{k}"


def test_top_k_does_not_gain_from_ties():
    assert t.top_k(1)(cf.zeros(4, 3), cf.tensor([0, 1, 2, 0])) == 0.0


@pytest.mark.parametrize("average", ["macro", "weighted", None])
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_class_metrics(name, average):
    metric = getattr(t, name).averaged(average)
    np.testing.assert_allclose(in_batches(metric, SCORES, TRUE), by_sets(average, name))


def test_micro_average_of_single_labels_is_accuracy():
    for metric in (t.precision, t.recall, t.f1):
        found = in_batches(metric.averaged("micro"), SCORES, TRUE)
        assert found == pytest.approx(np.mean(SAID == TRUE))


def test_confusion_matrix():
    expected = np.zeros((5, 5), int)
    for a, b in zip(TRUE, SAID, strict=True):
        expected[a, b] += 1
    assert in_batches(t.confusion_matrix, SCORES, TRUE) == expected.tolist()


def test_confusion_matrix_grows_with_the_classes():
    state = t.confusion_matrix.update(t.confusion_matrix.start, cf.tensor([0]), cf.tensor([0]))
    state = t.confusion_matrix.update(state, cf.tensor([2]), cf.tensor([1]))
    assert t.confusion_matrix.result(state) == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_errors_of_numbers():
    y = rng.normal(3, 2, (50, 2))
    p = y + rng.normal(0, 0.5, (50, 2))
    np.testing.assert_allclose(in_batches(t.mse, p, y), np.mean((p - y) ** 2))
    np.testing.assert_allclose(in_batches(t.mae, p, y), np.mean(np.abs(p - y)))
    each = 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(in_batches(t.r2, p, y), each.mean())


def test_r2_far_from_zero_keeps_its_digits():
    y = 1e6 + rng.normal(size=200)
    p = y + 0.1
    expected = 1 - 200 * 0.01 / ((y - y.mean()) ** 2).sum()
    np.testing.assert_allclose(in_batches(t.r2, p, y), expected, rtol=1e-6)


def test_known_numbers_of_scikit_learns_manual():
    p, y = cf.tensor([2.5, 0.0, 2.0, 8.0]), cf.tensor([3.0, -0.5, 2.0, 7.0])
    assert t.r2(p, y) == pytest.approx(0.948608, abs=1e-6)
    assert t.mse(p, y) == 0.375
    assert t.mae(p, y) == 0.5
    said, true = cf.tensor([0, 2, 1, 0, 0, 1]), cf.tensor([0, 1, 2, 0, 1, 2])
    assert t.f1(said, true) == pytest.approx(0.26666, abs=1e-4)
    assert t.precision(said, true) == pytest.approx(0.22222, abs=1e-4)


@pytest.mark.parametrize("value, expected", [(1.0, 0.0), (2.0, 1.0)])
def test_r2_of_targets_that_do_not_vary(value, expected):
    assert t.r2(cf.full((3,), value), cf.full((3,), 2.0)) == expected


def test_a_function_becomes_the_mean_over_samples():
    def off_by(prediction, target):
        return (prediction - target).abs().mean()

    x, y = rng.normal(size=23), rng.normal(size=23)
    metric = t.metrics.as_metric(off_by)
    assert metric.name == "off_by"
    assert in_batches(metric, x, y) == pytest.approx(np.abs(x - y).mean())


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda: t.mse(cf.zeros(4, 1), cf.zeros(4)), cf.ShapeError, "squeeze"),
        (lambda: t.r2(cf.zeros(4, 1), cf.zeros(4)), cf.ShapeError, "squeeze"),
        (lambda: t.accuracy(cf.zeros(4, 1), cf.zeros(4)), cf.ShapeError, "squeeze"),
        (lambda: t.accuracy(cf.zeros(3, 2), cf.zeros(4)), cf.ShapeError, r"\[N, C\]"),
        (lambda: t.top_k(2)(cf.zeros(3), cf.zeros(3)), cf.ShapeError, "top_k"),
        (lambda: t.top_k(0), cf.ArgumentError, "k must"),
        (lambda: t.f1.averaged("mean"), cf.ArgumentError, "average"),
        (
            lambda: t.confusion_matrix(cf.tensor([0]), cf.tensor([-1])),
            cf.IndexOutOfRange,
            "from 0",
        ),
        (lambda: t.metrics.as_metric("accuracy"), cf.DTypeError, "cf.train.accuracy"),
        (lambda: t.metrics.as_metric(t.top_k), cf.DTypeError, "top_k"),
    ],
)
def test_wrong_use_is_a_lesson(call, error, words):
    with pytest.raises(error, match=words):
        call()
