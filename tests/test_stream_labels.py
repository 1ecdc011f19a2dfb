"""Labels outside the classes end a stream where they are read, and nothing else that holds integers does."""

import jax
import numpy as np
import optax
import pytest
from tests.transforms.learners import mlp, start

import stepax as sx
from stepax.data import stream
from stepax.stream_labels import class_count, labelled

KEY = jax.random.key(3)


def table(y, n=16):
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, n).astype(np.int32) if y is None else y
    return {"x": random.normal(size=(n, 4)).astype(np.float32), "y": labels}


def with_label(value, row=9):
    data = table(None)
    data["y"][row] = value
    return data


def learner_of(loss, outputs=3, **settings):
    return sx.supervised(sx.nn.MLP((4, outputs)), loss, optax.sgd(0.1), **settings)


def modulo(output, batch):
    return sx.losses.cross_entropy(output, {**batch, "y": batch["y"] % 3})


def column(output, batch):
    return sx.losses.cross_entropy(output, {**batch, "y": batch["y"][:, 0]})


def squared(output, batch):
    return (output - batch["y"][:, None]) ** 2


INTEGERS = jax.ShapeDtypeStruct((4,), np.dtype(np.int32))
PAIRS = jax.ShapeDtypeStruct((4, 2), np.dtype(np.int32))
SOFT = jax.ShapeDtypeStruct((4, 3), np.dtype(np.float32))


@pytest.mark.parametrize(
    ("learner", "y", "expected"),
    [
        (learner_of(sx.losses.cross_entropy), INTEGERS, 3),
        (sx.guard(sx.population(learner_of(sx.losses.cross_entropy), 2)), INTEGERS, 3),
        (learner_of(squared, metrics={"accuracy": sx.metrics.accuracy}), INTEGERS, 3),
        (learner_of(sx.losses.cross_entropy), SOFT, None),
        (learner_of(squared), INTEGERS, None),
        (learner_of(modulo), INTEGERS, None),  # what it stands for is known to the loss alone
        (learner_of(column), PAIRS, None),
        (learner_of(sx.losses.cross_entropy)._replace(evaluate=None), INTEGERS, None),
    ],
)
def test_classes_are_those_with_which_y_itself_is_compared(learner, y, expected):
    batch = {"x": np.zeros((4, 4), np.float32), "y": np.zeros(y.shape, y.dtype)}
    like = {"x": jax.ShapeDtypeStruct((4, 4), np.dtype(np.float32)), "y": y}
    assert class_count(learner, learner.init(KEY, batch), like) == expected
    assert class_count(learner, learner.init(KEY, batch), {"x": like["x"]}) is None


@pytest.mark.parametrize(("value", "transform"), [(-1, sx.guard), (3, lambda learner: sx.population(learner, 2))])
@pytest.mark.parametrize("key", [KEY, None], ids=["shuffled", "in order"])
def test_a_training_ends_with_batch_row_and_label(value, transform, key):
    data, learner = with_label(value), transform(learner_of(sx.losses.cross_entropy))
    source = stream(data, 4, key)
    where = [
        (i, batch["y"].tolist().index(value)) for i, batch in enumerate(source.batches(0, 0)) if value in batch["y"]
    ]
    ((number, row),) = where
    with pytest.raises(ValueError, match="labels are not in") as raised:
        sx.fit(learner, source, key=KEY, epochs=1, batch_size=None, progress=False)
    assert str(raised.value) == (
        f"source: batch {number} of epoch 0: y: 1 of 4 labels are not in [0, 3): the first is {value}, in row {row}; "
        f"a row to be left out takes any label in range and weight 0; row {row} of the batch is row 9 of the source"
    )


def test_steps_before_the_bad_batch_are_made():
    learner, source = mlp(), stream(with_label(7), 4)
    turns = sx.epochs(learner, source, start(learner, table(None)))
    state, metrics = next(turns)
    assert int(state.step) == len(metrics["loss"]) == 2
    assert np.isfinite(metrics["loss"]).all()
    with pytest.raises(ValueError, match=r"batch 2 of epoch 0: .* the first is 7, in row 1"):
        next(turns)


def test_a_row_of_weight_0_takes_a_label_in_range_as_in_memory():
    data = with_label(7) | {"weight": (np.arange(16) != 9).astype(np.float32)}
    for source in (data, stream(data, 4)):
        with pytest.raises(ValueError, match=r"labels are not in \[0, 3\): the first is 7"):
            sx.fit(mlp(), source, key=KEY, epochs=1, batch_size=4, progress=False)
    data["y"][9] = 0
    assert sx.fit(mlp(), stream(data, 4), key=KEY, epochs=1, batch_size=None, progress=False).history["loss"][0] > 0


@pytest.mark.parametrize("form", ["sequence", "function", "files"])
def test_every_form_of_stream_names_the_example(form, tmp_path):
    data = with_label(7)
    examples = [{"x": x, "y": y} for x, y in zip(data["x"], data["y"], strict=True)]
    if form == "files":
        for shard in range(2):
            np.savez(tmp_path / f"{shard}.npz", **{name: field[8 * shard :][:8] for name, field in data.items()})
        source, said = stream(tmp_path, 4), r"row 1 of .*1\.npz"
    elif form == "function":
        source, said = stream(lambda epoch: iter(examples), 4, examples=16), "example 9 of those drawn"
    else:
        source, said = stream(examples, 4), "example 9 of the source"
    batches = labelled(source, mlp(), start(mlp(), table(None))).batches(0, 1)
    next(batches)
    with pytest.raises(ValueError, match=f"batch 2 of epoch 0: .*row 1 of the batch is {said}"):
        next(batches)
    batches.close()


def test_the_share_of_a_process_names_the_row_of_the_source():
    source = stream(with_label(7, 6), 4, process_index=1, process_count=2)
    batches = labelled(source, mlp(), start(mlp(), table(None))).batches(0, 0)
    next(batches)
    with pytest.raises(ValueError, match=r"batch 1 of epoch 0: .*row 0 of the batch is row 6 of the source"):
        next(batches)
    batches.close()


def test_a_stream_without_names_is_checked_and_closed():
    closed = []

    def read(epoch, first):
        try:
            yield table(np.full(4, epoch, np.int32), 4)
        finally:
            closed.append(epoch)

    source = sx.Stream(1, stream(table(None), 4).like, read)
    checked = labelled(source, mlp(), start(mlp(), table(None)))
    batches = checked.batches(2, 0)
    assert next(batches)["y"].tolist() == [2] * 4
    batches.close()
    with pytest.raises(ValueError, match=r"4 of 4 labels .*the first is 5, in row 0; a row .* weight 0$"):
        next(checked.batches(5, 0))
    assert closed[0] == 2


def test_what_is_measured_is_looked_at_too():
    learner = learner_of(sx.losses.cross_entropy)
    state = start(learner, table(None))
    told = "source: batch 2 of epoch 0: y: 1 of 4 labels are not in"
    with pytest.raises(ValueError, match=told):
        sx.evaluate(learner, state, stream(with_label(7), 4))
    with pytest.raises(ValueError, match=told):
        sx.fit(
            learner,
            table(None),
            key=KEY,
            epochs=1,
            batch_size=4,
            validation=stream(with_label(-1), 4),
            progress=False,
        )
