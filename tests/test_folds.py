"""Cross-validation and other data of their own for lanes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.transforms.learners import batch_of, close, mlp

import stepax as sx


def rows_of(source, lane, epoch=0):
    """The values of ``y`` that one lane sees with a weight."""
    order, seen = source.order(epoch), []
    for i in range(source.length):
        batch = source.take(order, jnp.int32(i))
        weight = batch.get("weight", np.ones_like(batch["y"]))
        seen += np.asarray(batch["y"])[lane][np.asarray(weight[lane]) > 0].tolist()
    return seen


def numbered(rows):
    return {"x": np.zeros((rows, 5), np.float32), "y": np.arange(rows, dtype=np.int32)}


@pytest.mark.parametrize(("rows", "count", "size"), [(10, 3, 4), (12, 4, 3), (7, 7, 100), (9, 2, 1)])
def test_each_fold_is_measured_once_and_learnt_from_by_all_the_others(rows, count, size):
    cut = sx.folds(numbered(rows), count, batch_size=size, key=jax.random.key(0))
    everything = set(range(rows))
    measured = [rows_of(cut.validation, lane) for lane in range(count)]
    assert sorted(row for lane in measured for row in lane) == sorted(everything)
    assert max(map(len, measured)) - min(map(len, measured)) <= 1
    for lane in range(count):
        learnt = rows_of(cut.training, lane)
        assert sorted(learnt) == sorted(everything - set(measured[lane]))
        assert cut.rows[measured[lane]].tolist() == [lane] * len(measured[lane])


def test_orders_change_by_epoch_and_lane_and_are_repeatable():
    cut, again = (sx.folds(numbered(40), 2, batch_size=8, key=jax.random.key(3)) for _ in range(2))
    first, second = rows_of(cut.training, 0), rows_of(cut.training, 0, epoch=1)
    assert sorted(first) == sorted(second)
    assert first != second
    assert first == rows_of(again.training, 0)
    other = sx.folds(numbered(40), 2, batch_size=8, key=jax.random.key(4))
    assert rows_of(other.training, 0) != first


def test_given_folds_are_kept():
    rows = np.array([0, 0, 0, 1, 1, 2])
    cut = sx.folds(numbered(6), 3, batch_size=2, key=jax.random.key(0), rows=rows)
    assert [rows_of(cut.validation, lane) for lane in range(3)] == [[0, 1, 2], [3, 4], [5]]


@pytest.mark.parametrize(
    "labels", [np.arange(37) % 3 == 0, np.repeat([4, -1, 9], [1, 16, 20]), np.array(list("ab" * 20))]
)
def test_every_fold_has_its_share_of_each_class(labels):
    cuts = [
        sx.folds(numbered(len(labels)), 4, batch_size=8, key=jax.random.key(seed), labels=labels).rows
        for seed in (0, 0, 1)
    ]
    for rows in cuts:
        for some in (np.full(len(labels), True), *(labels == label for label in np.unique(labels))):
            sizes = np.bincount(rows[some], minlength=4)
            assert sizes.max() - sizes.min() <= 1
    assert (cuts[0] == cuts[1]).all()
    assert (cuts[0] != cuts[2]).any()


def test_a_lane_is_the_training_on_its_own_rows(x64):
    data = batch_of(11)
    cut = sx.folds(data, 3, batch_size=4, key=jax.random.key(0))
    many = sx.population(mlp(), 3, lanes_of_data=True)
    run = sx.fit(
        many, cut.training, key=jax.random.key(1), epochs=2, batch_size=None, validation=cut.validation, progress=False
    )
    order = cut.training.order(0)
    start = jax.vmap(lambda key: mlp().init(key, data))(jax.random.split(jax.random.split(jax.random.key(1))[0], 3))
    for k in range(3):
        single = jax.tree.map(lambda leaf, k=k: leaf[k], start)
        for step in range(2 * cut.training.length):
            epoch, i = divmod(step, cut.training.length)
            batch = cut.training.take(cut.training.order(epoch), jnp.int32(i))
            single = jax.jit(mlp().step)(single, jax.tree.map(lambda leaf, k=k: leaf[k], batch))[0]
        close(sx.lane(run.state, k).params, single.params, 1e-5)
        held = jax.tree.map(lambda leaf, k=k: leaf[cut.rows == k], data)
        expected = sx.evaluate(mlp(), sx.lane(run.state, k), held)["loss"]
        assert run.history["validation/loss"][-1][k] == pytest.approx(expected, rel=1e-5)
    assert order.keys() == {"rows", "counts", "data"}


def test_sources_side_by_side_give_every_lane_its_own_batch():
    parts = [batch_of(6, seed=seed) for seed in (0, 1)]
    sources = [sx.shuffled(part, 4, jax.random.key(seed)) for seed, part in enumerate(parts)]
    both = sx.side_by_side(sources)
    batch = both.take(both.order(2), jnp.int32(1))
    for lane, source in enumerate(sources):
        own = source.take(source.order(2), jnp.int32(1))
        for name, array in own.items():
            np.testing.assert_array_equal(batch[name][lane], array)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 1}, ValueError, "count: expected at least 2, got 1"),
        ({"count": 7}, ValueError, "count: expected at most one fold for each of the 6 examples, got 7"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
        ({"rows": [0.0] * 6}, TypeError, "rows: expected whole numbers"),
        ({"rows": [0, 1]}, ValueError, r"rows: expected one fold for each of the 6 examples, got shape \(2,\)"),
        (
            {"labels": [0, 1]},
            ValueError,
            r"labels: expected one class for each of the 6 examples, .*, got the shape \(2,\)",
        ),
        ({"labels": [0] * 6, "rows": [0, 1] * 3}, ValueError, "labels: .* and no rows, got them beside rows"),
        ({"rows": [0, 0, 0, 2, 2, 2]}, ValueError, r"rows: expected the folds 0 to 1, each .* got \[0, 2\]"),
    ],
)
def test_bad_folds_are_refused(arguments, error, message):
    settings = {"count": 2, "batch_size": 2, "key": jax.random.key(0), **arguments}
    with pytest.raises(error, match=message):
        sx.folds(numbered(6), settings.pop("count"), **settings)


def test_sources_that_do_not_fit_together_are_refused():
    first, second = (sx.shuffled(numbered(rows), 2, jax.random.key(0)) for rows in (4, 6))
    with pytest.raises(ValueError, match="sources: expected at least one"):
        sx.side_by_side([])
    with pytest.raises(TypeError, match="sources: expected sources such as"):
        sx.side_by_side([numbered(3)])
    with pytest.raises(ValueError, match=r"sources: expected one length, got \[2, 3\] batches"):
        sx.side_by_side([first, second])
    with pytest.raises(ValueError, match="sources: batches of source 1 are"):
        sx.side_by_side([first, sx.shuffled(numbered(6), 3, jax.random.key(0))])
