import numpy as np
import pytest
from sklearn.datasets import make_circles

from stepax.plot import probe_accuracy

RNG = np.random.default_rng(0)


def test_a_separable_layer_is_read_without_a_fault():
    labels = np.arange(90) % 3
    layer = np.eye(3)[labels] + RNG.normal(0, 0.05, (90, 3))
    assert probe_accuracy(layer[:60], labels[:60], layer[60:], labels[60:]) == 1.0


def test_noise_is_read_no_better_than_by_guessing():
    layer, labels = RNG.normal(size=(600, 5)), np.arange(600) % 2
    assert abs(probe_accuracy(layer[:300], labels[:300], layer[300:], labels[300:]) - 0.5) < 0.1


def test_what_is_not_linear_is_read_only_from_the_right_features():
    x, labels = make_circles(400, noise=0.02, factor=0.5, random_state=0)
    squared = np.square(x)
    assert probe_accuracy(x[:200], labels[:200], x[200:], labels[200:]) < 0.65
    assert probe_accuracy(squared[:200], labels[:200], squared[200:], labels[200:]) == 1.0


def test_wide_layers_are_reduced_and_keep_what_counts():
    labels = np.arange(200) % 4
    pattern = RNG.normal(size=(4, 20, 20, 5))
    layer = 3 * pattern[labels] + RNG.normal(size=(200, 20, 20, 5))
    assert probe_accuracy(layer[:100], labels[:100], layer[100:], labels[100:], dims=16) == 1.0


def test_a_dead_layer_answers_with_one_class():
    labels = np.array([0, 1, 1, 1] * 10)
    assert probe_accuracy(np.zeros((40, 3)), labels, np.zeros((40, 3)), labels) == 0.75


def test_one_class_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="two classes"):
        probe_accuracy(np.ones((3, 2)), np.zeros(3, int), np.ones((3, 2)), np.zeros(3, int))
