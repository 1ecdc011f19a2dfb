"""One small case per learner: what the contract battery runs over. A new learner joins by one entry."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx

import stepax as sx


class Case(NamedTuple):
    """A learner with toy data that it can solve.

    Attributes:
        make: Makes the learner.
        data: A batch with few rows, float32; or a source.
        solved: Whether the metrics of ``evaluate`` after ``epochs`` are as good as they can be.
        epochs: Epochs to get there.
        batch_size: Examples a step; it leaves a remainder in most cases.
        by_gradient: Whether steps use the ``gradient`` argument.
        lanes: Of a population, how many it has.
        rounding: How far two programs for the same step may differ in float64.
        whole: Whether it goes through the whole battery. What others show of ``supervised`` holds for one more model
            as well: such a case goes only through the tests in which models differ.
    """

    make: Callable[[], sx.Learner]
    data: Any
    solved: Callable[[dict[str, float]], bool]
    epochs: int
    batch_size: int = 5
    by_gradient: bool = True
    lanes: tuple[int, ...] = ()
    rounding: float = 1e-7
    whole: bool = True


class Regressor(nnx.Module):
    """An NNX module with everything that is awkward: a list, batch statistics, dropout."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layers = nnx.List([nnx.Linear(2, 16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)])
        self.norm = nnx.BatchNorm(16, rngs=rngs, momentum=0.9)
        self.dropout = nnx.Dropout(0.02, rngs=rngs)
        self.head = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.tanh(self.layers[0](x))
        return self.head(self.dropout(self.norm(nnx.tanh(self.layers[1](x)))))


class Linear(linen.Module):
    """A module without a ``train`` argument, over a dict of inputs."""

    @linen.compact
    def __call__(self, x: dict[str, jax.Array]) -> jax.Array:
        return linen.Dense(1, name="head")(jnp.concatenate([x["left"], x["right"]], axis=-1))


class LastStep(linen.Module):
    """A classifier of sequences by what an LSTM knows after the last step."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        outputs, _ = sx.nn.LSTM(8, name="lstm")(x)
        return sx.nn.Dense(2, name="head")(outputs[:, -1])


def gate(*truth: int) -> dict[str, np.ndarray]:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return {"x": x, "y": np.array(truth, np.int32)}


def stripes() -> dict[str, np.ndarray]:
    """Sixteen 6×6 images: upright or lying stripes, at either phase, with a little noise."""
    upright = np.tile(np.array([1, 0], np.float32), (6, 3))
    images = [upright, 1 - upright, upright.T, 1 - upright.T] * 4
    noise = np.random.default_rng(0).normal(0, 0.1, (16, 6, 6))
    return {"x": (np.stack(images) + noise).astype(np.float32)[..., None], "y": np.array([0, 0, 1, 1] * 4, np.int32)}


def plane() -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).uniform(-1, 1, (12, 2)).astype(np.float32)
    return {"x": x, "y": (100 + 30 * x[:, 0] - 10 * x[:, 1]).astype(np.float32)}


def weighted_sum() -> dict[str, Any]:
    x = plane()["x"]
    weight = np.linspace(0, 2, 12, dtype=np.float32)
    return {"x": {"left": x[:, :1], "right": x[:, 1:]}, "y": x @ np.float32([2, -1]), "weight": weight}


def impulses() -> dict[str, np.ndarray]:
    """Sixteen sequences of five steps: is the impulse at the start up or down?"""
    x = np.random.default_rng(0).normal(0, 0.1, (16, 5, 1)).astype(np.float32)
    y = np.array([0, 1] * 8, np.int32)
    x[:, 0, 0] += 2 * y - 1
    return {"x": x, "y": y}


def counting() -> dict[str, np.ndarray]:
    """Tokens that count up or down in a circle of five; from the second on the next is certain."""
    starts = np.arange(12)[:, None]
    tokens = (starts + np.where(starts % 2 == 0, 1, -1) * np.arange(5)) % 5
    weight = np.tile(np.float32([0, 1, 1, 1]), (12, 1))
    return {"x": tokens[:, :-1].astype(np.int32), "y": tokens[:, 1:].astype(np.int32), "weight": weight}


def moods() -> dict[str, np.ndarray]:
    """Sixteen texts of two to five of the words 2 to 7, filled up with 0: does the last of them mean yes (above 4)?"""
    random = np.random.default_rng(0)
    x = random.integers(2, 8, (16, 5)) * (np.arange(5) < random.integers(2, 6, (16, 1)))
    last = np.take_along_axis(x, (x > 0).sum(1, keepdims=True) - 1, 1)[:, 0]
    return {"x": x.astype(np.int32), "y": (last > 4).astype(np.int32)}


def reversing() -> dict[str, Any]:
    """Sources of three tokens, the last of some missing; the target says them backwards, a first one given."""
    random = np.random.default_rng(0)
    source = random.integers(1, 4, (12, 3)).astype(np.int32)
    y = source[:, ::-1].copy()
    source[::3, 2] = 0
    y[::3] = np.roll(source[::3, ::-1], -1, 1)
    target = np.concatenate([np.full((12, 1), 4, np.int32), y[:, :-1]], 1)
    return {"x": {"source": source, "target": target}, "y": y}


MESH = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
ACCURACY = {"accuracy": sx.metrics.accuracy}


def _supervised(model: Any, loss: Any, rate: float, **metrics: Any) -> sx.Learner:
    return sx.supervised(model, loss, optax.adam(rate), metrics=metrics)


def _scaled_regression() -> sx.Learner:
    data = plane()
    scalings = [sx.data.Scaling(data[name].mean(0), data[name].std(0)) for name in ("x", "y")]
    return _supervised(sx.scaled(sx.nn.MLP((16, 1)), *scalings), sx.losses.mean_squared_error, 0.01)


def _transferred() -> sx.Learner:
    network = sx.nn.CNN((4,), dense=(8,), classes=2, normalize=True, dropout=0.1)
    params, variables = sx.as_model(network).init(jax.random.key(7), stripes()["x"])
    model = sx.transfer(network, params, variables, train="dense|head")
    return _supervised(model, sx.losses.cross_entropy, 0.02, **ACCURACY)


def _accurate(metrics: dict[str, Any]) -> bool:
    return bool(np.all(metrics["accuracy"] == 1))


def _stripes_by(rate: Any) -> sx.Learner:
    """With batch normalisation and dropout, in a network that compiles sooner than the CNN."""
    model = sx.nn.MLP((16, 2), normalize=True, dropout=0.1)
    # A bias before a normalisation has a gradient of 0 up to rounding, of which Adam would make whole steps.
    return sx.supervised(model, sx.losses.cross_entropy, optax.sgd(rate, momentum=0.9), metrics=ACCURACY)


def _over_stripes(transform: Callable[[sx.Learner], sx.Learner], batch_size: int = 4, **settings: Any) -> Case:
    """A transformation over a network that classifies the stripes."""
    return Case(lambda: transform(_stripes_by(0.05)), stripes(), _accurate, 20, batch_size, **settings)


def _text(model: Any, data: dict[str, Any]) -> Case:
    """A model of tokens, in the tests in which models differ."""
    return Case(
        lambda: _supervised(model, sx.losses.cross_entropy, 0.02, **ACCURACY), data, _accurate, 200, whole=False
    )


CASES = {
    "perceptron": Case(
        lambda: sx.nn.rosenblatt(sx.nn.Perceptron()),
        gate(0, 0, 0, 1),
        lambda m: m["loss"] == 0,
        20,
        3,
        by_gradient=False,
    ),
    "mlp": Case(
        lambda: _supervised(sx.nn.MLP((8, 2)), sx.losses.cross_entropy, 0.05, **ACCURACY),
        gate(0, 1, 1, 0),
        _accurate,
        200,
        3,
    ),
    "cnn": Case(
        lambda: _supervised(
            sx.nn.CNN((4,), dense=(8,), classes=2, normalize=True, dropout=0.1),
            sx.losses.cross_entropy,
            0.02,
            **ACCURACY,
        ),
        stripes(),
        _accurate,
        20,
    ),
    "scaled": Case(_scaled_regression, plane(), lambda m: m["loss"] < 1, 300),
    "nnx": Case(
        lambda: _supervised(sx.from_nnx(lambda rngs: Regressor(rngs)), sx.losses.mean_squared_error, 0.02),
        {**plane(), "y": plane()["x"].sum(1)},
        lambda m: m["loss"] < 0.05,
        200,
        6,
    ),
    "tree": Case(
        lambda: _supervised(Linear(), sx.losses.mean_squared_error, 0.1),
        weighted_sum(),
        lambda m: m["loss"] < 1e-3,
        200,
    ),
    "lstm": Case(lambda: _supervised(LastStep(), sx.losses.cross_entropy, 0.05, **ACCURACY), impulses(), _accurate, 20),
    "decoder": Case(
        lambda: _supervised(sx.nn.Decoder(5, 8, 2, 2, 4), sx.losses.cross_entropy, 0.02, **ACCURACY),
        counting(),
        _accurate,
        200,
    ),
    "transformer": _text(sx.nn.Transformer(4, 5, 8, 1, 2, 3), reversing()),
    "text cnn": _text(sx.text.TextCNN(8, 2, 4, (2, 3), 4, dropout=0.1), moods()),
    "text lstm": _text(sx.text.TextLSTM(8, 2, 4, 4, dropout=0.1), moods()),
    "text transformer": _text(sx.text.TextTransformer(8, 2, 8, 1, 2, 5), moods()),
    "language lstm": _text(sx.text.LSTMLanguageModel(5, 8, 1, dropout=0.1), counting()),
    "translator": _text(sx.text.LSTMTranslator(4, 5, 8, bidirectional=True), reversing()),
    "transfer": Case(_transferred, stripes(), _accurate, 30),
    # Of a part with two rows the statistics would be poor.
    "accumulate": _over_stripes(lambda learner: sx.accumulate(learner, 2), 8),
    "average": _over_stripes(lambda learner: sx.average(learner, 0.8)),
    "guard": _over_stripes(sx.guard),
    "watch": _over_stripes(lambda learner: sx.watch(learner, layers=True)),
    # The compiler may leave out a rounding to eight bits that another program makes.
    "precise": _over_stripes(sx.precise, rounding=2**-6),
    "population": _over_stripes(lambda learner: sx.population(learner, 2), lanes=(2,)),
    "sweep": Case(lambda: sx.sweep(_stripes_by, rate=[0.05, 0.08]), stripes(), _accurate, 20, 4, lanes=(2,)),
    "shard": _over_stripes(lambda learner: sx.shard(learner, MESH)),
}
# One learner for all tests of a case: what one of them has compiled, the others find.
CASES = {name: case._replace(make=functools.cache(case.make)) for name, case in CASES.items()}
