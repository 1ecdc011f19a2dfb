import jax
import numpy as np
import optax
import pytest

import stepax as sx
from stepax.cli.finite import lost_since, note_outputs, note_texts, outcome

NAN, INF = float("nan"), float("inf")
LEARNER = sx.supervised(sx.nn.MLP((2,)), sx.losses.cross_entropy, optax.sgd(0.1))
STATE = LEARNER.init(jax.random.key(0), {"x": np.zeros((1, 3), np.float32)})


@pytest.mark.parametrize(
    ("losses", "validation", "expected"),
    [
        ([3.0, 2.0, 1.0], None, None),
        ([3.0, NAN, NAN], None, 2),
        ([INF, 2.0, NAN], None, 3),
        ([INF, 2.0, 1.0], None, None),
        ([3.0, 2.0, 1.0], [1.0, INF, NAN], 2),
        ([3.0, 2.0, NAN], [1.0, INF, 1.0], 2),
    ],
)
def test_the_epoch_since_which_a_loss_is_lost(losses, validation, expected):
    history = {"epoch": [1, 2, 3], "step": [5, 10, 15], "loss": losses, "r_squared": [NAN] * 3}
    assert lost_since(history | ({"validation/loss": validation} if validation else {})) == expected


def params(value):
    return STATE._replace(params=jax.tree.map(lambda leaf: leaf.at[..., 0].set(value), STATE.params))


@pytest.mark.parametrize(
    ("losses", "metrics", "value", "status", "message"),
    [
        ([1.0, 0.5], {"loss": 0.5, "test/loss": 0.4, "test/roc_auc": NAN}, 0.0, 0, ""),
        ([1.0, NAN], {"loss": NAN}, 0.0, 1, "the loss is not finite since epoch 2: a lower --learning-rate may help"),
        ([1.0, NAN], {"loss": 1.0}, 0.0, 0, "since epoch 2: a lower --learning-rate may help; the model of the best"),
        ([1.0, 0.5], {"loss": 0.5, "test/loss": INF}, 0.0, 1, "the trained model gives no finite loss: a lower"),
        ([1.0, 0.5], {"loss": 0.5}, NAN, 1, "the trained model gives no finite loss: a lower"),
    ],
)
def test_what_comes_of_a_training(capsys, losses, metrics, value, status, message):
    history = {"epoch": [1, 2], "step": [5, 10], "loss": losses}
    assert outcome(history, metrics, params(value)) == status
    found = capsys.readouterr().err
    assert (message in found) if message else not found


def test_rows_without_a_finite_answer_are_counted(capsys):
    assert note_outputs(np.zeros((3, 2)))
    assert not capsys.readouterr().err
    assert not note_outputs(np.array([[0.0, NAN], [INF, NAN], [0.0, 1.0]]))
    assert "warning: for 2 of 3 rows the model has no finite answer" in capsys.readouterr().err


def test_texts_without_an_answer_are_counted(capsys):
    for lost, count in ((0, 2), (1, 1), (1, 2)):
        note_texts(lost, count)
    end = "the model has no finite answer: its training may have diverged"
    assert capsys.readouterr().err.splitlines() == [
        f"warning: for 1 of 1 text {end}",
        f"warning: for 1 of 2 texts {end}",
    ]
