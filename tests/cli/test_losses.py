import numpy as np
import pytest
from scipy.special import expit, softmax

from stepax.cli import options
from stepax.cli.losses import LOSSES, default_loss, kind_of, loss_for, probabilities, width
from stepax.data import Dataset, load


def dataset(y, classes=None, task="classification"):
    rows = {"x": np.zeros((len(y), 2), np.float32), "y": np.asarray(y)}
    return Dataset(rows, rows, "toy", task, classes)


def test_help_names_the_losses_there_are():
    assert options.LOSSES.split("|") == list(LOSSES)


@pytest.mark.parametrize(
    ("name", "kind"), [("digits", "classes"), ("breast_cancer", "binary"), ("gates", "labels"), ("diabetes", "numbers")]
)
def test_the_kind_of_a_target_and_its_usual_loss(name, kind):
    assert kind_of(load(name)) == kind
    assert loss_for(default_loss(kind), kind)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (dataset([0, 0], ("only",)), "at least two classes"),
        (dataset([[0, 2]]), "expected 0 or 1"),
        (dataset(np.zeros((2, 2, 2)), task="regression"), r"\[2, 2, 2\]"),
    ],
)
def test_targets_that_cannot_be_learnt_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        kind_of(bad)


def test_a_loss_for_another_kind_of_target_is_refused_with_those_that_fit():
    with pytest.raises(ValueError, match="--loss hinge is not for several classes; there are cross-entropy, multicl"):
        loss_for("hinge", "classes")
    with pytest.raises(ValueError, match="did you mean 'huber'"):
        loss_for("hubert", "numbers")


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("cross-entropy", "classes", 7),
        ("cross-entropy", "binary", 7),
        ("binary-cross-entropy", "binary", 1),
        ("hinge", "labels", 4),
        ("huber", "numbers", 4),
    ],
)
def test_the_width_of_the_output(name, kind, expected):
    assert width(name, kind, 4, 7) == expected


def test_probabilities_are_those_of_the_link():
    output = np.array([[1.0, -2.0, 0.5]], np.float32)
    np.testing.assert_allclose(probabilities("cross-entropy", output), softmax(output, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(probabilities("binary-cross-entropy", output), expit(output), rtol=1e-5)
    single = probabilities("binary-cross-entropy", output[:, :1])
    np.testing.assert_allclose(single, [[1 - expit(1.0), expit(1.0)]], rtol=1e-5)


@pytest.mark.parametrize("name", ["hinge", "multiclass-hinge", "huber", ""])
def test_scores_without_a_meaning_have_no_probabilities(name):
    assert probabilities(name, np.ones((1, 3), np.float32)) is None
