"""How easily a linear classifier can read the classes from a layer."""

from typing import Any

import numpy as np

__all__ = ["probe_accuracy"]


def probe_accuracy(train: Any, labels: Any, test: Any, test_labels: Any, *, dims: int = 128) -> float:
    """The test accuracy of a logistic regression on a layer's activations.

    It is fitted on activations of training examples, so that it measures what the layer makes easy to tell apart. A
    layer of more than ``dims`` values is first reduced to its ``dims`` leading principal components (found on the
    training activations), which makes the probe a matter of seconds; all values are divided by one common spread, so
    that the regularisation means the same on every layer.

    Args:
        train: Activations of training examples, ``[n, …]``.
        labels: Their classes, ``[n]`` integers.
        test: Activations of test examples, ``[m, …]``.
        test_labels: Their classes, ``[m]``.
        dims: The most values per example that the classifier sees.

    Returns:
        The share of test examples that the probe gets right, in [0, 1].

    Raises:
        ValueError: The training labels hold fewer than two classes.

    Reference:
        Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016, arXiv:1610.01644.
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(labels)) < 2:
        raise ValueError("labels: expected at least two classes to tell apart")
    train, test = (np.asarray(values, np.float32).reshape(len(values), -1) for values in (train, test))
    if train.shape[1] > dims:
        train, test = _reduced(train, test, dims)
    center, spread = train.mean(axis=0), float(train.std()) or 1.0
    train, test = (train - center) / spread, (test - center) / spread
    classifier = LogisticRegression(max_iter=2000).fit(train, labels)
    return float(classifier.score(test, test_labels))


def _reduced(train: np.ndarray, test: np.ndarray, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Both parts in the leading principal components of the training part."""
    from sklearn.decomposition import PCA

    number = min(dims, len(train) - 1)
    # Two rounds find components to a per cent of their length, which a probe cannot tell from exact ones.
    found = PCA(number, svd_solver="randomized", iterated_power=2, random_state=0)  # pyright: ignore[reportArgumentType]
    components = found.fit(train)
    return components.transform(train), components.transform(test)
