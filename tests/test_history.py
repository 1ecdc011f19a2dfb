"""Sums of an epoch and the best state, by hand numbers."""

import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import stepax as sx
from stepax.history import Best, Sums


def test_means_are_weighted_and_what_does_not_count_may_be_infinite():
    sums = Sums()
    sums.add({"loss": np.float32([1, 2]), "weight": np.float32([3, 1])})
    sums.add({"loss": np.float32([np.inf, 5]), "weight": np.float32([0, 4])})
    assert sums.means() == {"loss": (3 + 2 + 20) / 8}


def test_without_weights_every_step_counts_once():
    sums = Sums()
    sums.add({"loss": np.float32([1, 2])})
    sums.add({"loss": np.float32([6])})
    assert sums.means() == {"loss": 3}


def test_lanes_have_means_of_their_own():
    sums = Sums()
    sums.add({"loss": np.float32([[1, 2], [3, 6]]), "weight": np.float32([[1, 1], [1, 3]])})
    assert sums.means() == {"loss": [2, 5]}


def test_without_any_weight_there_is_no_mean():
    sums = Sums()
    sums.add({"loss": np.float32([[3, 1]]), "weight": np.float32([[0, 2]])})
    np.testing.assert_array_equal(sums.means()["loss"], [np.nan, 1])
    assert Sums().means() == {}


def test_how_steps_are_cut_changes_no_bit_and_neither_does_going_on():
    values = np.float32(10.0 ** np.random.default_rng(0).uniform(-20, 20, 50))
    metrics = {"loss": values, "weight": np.full(50, 0.3, np.float32)}
    results = set()
    for cuts in ([50], [1, 50], [7, 8, 31, 50], list(range(1, 51))):
        sums = Sums()
        for first, last in itertools.pairwise([0, *cuts]):
            sums.add({name: array[first:last] for name, array in metrics.items()})
            sums = Sums(sums.kept())
        results.add(sums.means()["loss"])
    assert len(results) == 1
    np.testing.assert_allclose(results.pop(), np.sum(values, dtype=np.float64) / 50)


def state(*values):
    values = jnp.float32(values) if len(values) > 1 else jnp.float32(values[0])
    keys = jax.random.key(0) if values.ndim == 0 else jax.random.split(jax.random.key(0), len(values))
    return sx.new_state(keys, {"w": values}, {}, (), {"shared": jnp.float32(values.sum())})


def seen(best, losses):
    """Reasons to stop, epoch by epoch; the state of epoch ``e`` holds the number ``e``."""
    reasons = []
    for epoch, loss in enumerate(losses, 1):
        row = {"epoch": epoch, "loss": loss}
        reasons.append(best.see(state(*[epoch] * np.size(loss)), row))
    return reasons


def test_the_best_state_and_when_to_stop():
    best = Best(2, "loss")
    assert seen(best, [5, 3, 4, 3]) == ["", "", "", "loss has not improved for 2 epochs"]
    assert best.state.params["w"] == 2
    assert best.found() == {"epoch": 2, "loss": 3}


def test_without_patience_nothing_is_kept():
    best = Best(None, "loss")
    assert seen(best, [1, 2, 3]) == ["", "", ""]
    assert best.state is None
    assert best.found() is None


def test_a_number_is_better_than_nan():
    best = Best(3, "loss", operator.gt)
    seen(best, [np.nan, 1, np.nan, 2])
    assert best.found() == {"epoch": 4, "loss": 2}


def test_every_lane_stops_by_itself_and_keeps_its_best():
    best = Best(2, "loss")
    # Lane 0 ends after epoch 4 and would have improved in epoch 5; lane 1 improves until epoch 4.
    losses = [[5, 9], [3, 8], [4, 7], [4, 6], [1, 7], [1, 7]]
    assert seen(best, losses) == [""] * 5 + ["loss has not improved for 2 epochs in any lane"]
    assert best.found() == {"epoch": [2, 4], "loss": [3, 6]}
    assert best.state.params["w"].tolist() == [2, 4]
    assert best.state.extra["shared"] == 8  # what has no lanes is of the last improvement


def test_lanes_are_as_trainings_of_their_own():
    random = np.random.default_rng(1)
    losses = random.uniform(0, 1, (40, 5))
    together = Best(4, "loss")
    reasons = seen(together, losses.tolist())
    for lane in range(5):
        alone = Best(4, "loss")
        own = seen(alone, losses[:, lane].tolist())
        stop = next((i for i, reason in enumerate(own) if reason), len(own) - 1)
        alone = Best(4, "loss")
        seen(alone, losses[: stop + 1, lane].tolist())
        assert together.found()["epoch"][lane] == alone.found()["epoch"]
        assert together.state.params["w"][lane] == alone.state.params["w"]
        assert any(reasons) or not any(own)


@pytest.mark.parametrize("cut", range(1, 6))
def test_going_on_from_what_was_kept_changes_nothing(cut):
    losses = [[5, 9], [3, 8], [4, 7], [4, 6], [1, 7], [1, 7]]
    whole, first, second = (Best(2, "loss") for _ in range(3))
    reasons = seen(whole, losses)
    begun = seen(first, losses[:cut])
    second.go_on(first.state, first.kept())
    for epoch, loss in enumerate(losses[cut:], cut + 1):
        begun.append(second.see(state(epoch, epoch), {"epoch": epoch, "loss": loss}))
    assert begun == reasons
    assert second.kept() == whole.kept()
    np.testing.assert_array_equal(second.state.params["w"], whole.state.params["w"])
