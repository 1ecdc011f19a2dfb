"""Small real data sets that need no download (from scikit-learn), and the logic gates."""

import numpy as np

from stepax.data.dataset import Dataset
from stepax.data.split import split

__all__ = ["GATES", "TOY", "gates", "toy"]

TOY = ("digits", "iris", "wine", "breast_cancer", "diabetes")
"""The data sets that scikit-learn carries within itself."""

GATES = {"and": (0, 0, 0, 1), "or": (0, 1, 1, 1), "xor": (0, 1, 1, 0), "nand": (1, 1, 1, 0)}
"""The truth tables over the inputs (0, 0), (0, 1), (1, 0), (1, 1)."""


def toy(name: str, test_fraction: float) -> Dataset:
    """Load one of the data sets that scikit-learn carries within itself.

    ``digits`` are 1,797 images ``[8, 8, 1]`` in [0, 1]; ``iris``, ``wine``, ``breast_cancer`` tables with classes;
    ``diabetes`` a table in raw units with a regression target (progression after one year, 25 to 346).

    Args:
        name: One of ``TOY``.
        test_fraction: Share of the rows that is held out, stratified by class.
    """
    import sklearn.datasets as sources

    loaders = {
        "digits": sources.load_digits,
        "iris": sources.load_iris,
        "wine": sources.load_wine,
        "breast_cancer": sources.load_breast_cancer,
        # scikit-learn scales this one unless told not to; tables are in raw units here.
        "diabetes": lambda: sources.load_diabetes(scaled=False),
    }
    bunch = loaders[name]()
    if name == "digits":
        x, features = bunch.images[..., np.newaxis] / 16, None
    else:
        x, features = bunch.data, tuple(map(str, bunch.feature_names))
    classes = None if name == "diabetes" else tuple(map(str, bunch.target_names))
    y = bunch.target.astype(np.float32 if classes is None else np.int32)
    train, test = split({"x": x.astype(np.float32), "y": y}, test_fraction, classes)
    return Dataset(train, test, name, "regression" if classes is None else "classification", classes, features)


def gates(name: str) -> Dataset:
    """Load the truth table of a logic gate: four rows, which are both training and test rows.

    Args:
        name: ``and``, ``or``, ``xor`` or ``nand`` for one gate with ``y [4]``; ``gates`` for all with ``y [4, 4]``,
            where column j is the answer of gate ``classes[j]``.
    """
    x = np.array([(0, 0), (0, 1), (1, 0), (1, 1)], np.float32)
    tables = np.array(list(GATES.values()) if name == "gates" else GATES[name], np.int32)
    classes = tuple(GATES) if name == "gates" else ("0", "1")
    train, test = ({"x": x.copy(), "y": tables.T.copy()} for _ in range(2))
    return Dataset(train, test, name, "classification", classes, ("a", "b"))
