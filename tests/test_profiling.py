"""A profile of a real training, and what is made of times that are known."""

from types import SimpleNamespace

import jax
import numpy as np
import optax
import pytest

import stepax as sx
from stepax import profiling
from stepax.data import stream
from stepax.profiling import profile

KEY = jax.random.key(0)
MODEL = sx.nn.MLP((64, 3))


def rows(n: int = 64) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(0).normal(size=(n, 20)).astype(np.float32), "y": np.arange(n) % 3}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    learner = sx.supervised(MODEL, sx.losses.cross_entropy, optax.adam(1e-3))
    return profile(learner, rows(), key=KEY, batch_size=16, steps=6, folder=folder)


def test_times_add_up(found):
    assert (found.steps, found.seconds > 0, found.compile > 0) == (6, True, True)
    assert found.busy + found.idle + found.host == pytest.approx(1, abs=1e-6)
    for table in (found.operations, found.layers):
        assert sum(row.share for row in table) == pytest.approx(found.busy, abs=1e-9)
        assert sum(row.seconds for row in table) == pytest.approx(found.busy * found.seconds, rel=1e-6)
        assert [row.seconds for row in table] == sorted((row.seconds for row in table), reverse=True)


def test_operations_and_layers_are_known_by_name(found):
    # Two products forward, and two backward: none by the data, and of three classes each is a factor of a sum.
    assert {row.name: row.calls for row in found.operations}["matrix product"] == 4
    layers = {(row.name, row.part) for row in found.layers}
    assert layers >= {(layer, part) for layer in ("dense_0", "head") for part in ("forward", "backward")}
    assert ("(optimizer, batch, metrics)", "") in layers


def test_what_the_program_costs(found):
    products = 2 * 16 * (20 * 64 * 2 + 64 * 3 * 3)
    assert found.flops == pytest.approx(products / found.seconds)
    assert found.memory > sum(leaf.nbytes for leaf in rows().values())
    assert list(found.folder.rglob("*.xplane.pb"))


def test_the_table_says_it_all(found):
    lines = str(found).splitlines()
    assert lines[0].startswith(f"6 steps of {1e3 * found.seconds:.3g} ms: ")
    assert lines[0].endswith("FLOP/s")
    assert "B needed" in lines[1]
    titles = [line.split()[0] for line in lines if line.endswith("calls")]
    assert titles == ["operation", "layer"]


def test_sources_streams_and_folders_of_nothing(tmp_path):
    learner = sx.supervised(MODEL, sx.losses.cross_entropy, optax.sgd(1e-3))
    for data in (sx.shuffled(rows(), 16, KEY), stream(rows(), 16, KEY)):
        short = profile(learner, data, key=KEY, batch_size=None, steps=3)
        assert (short.steps, short.folder) == (3, None)
        assert any(row.name == "matrix product" for row in short.operations)


def test_operations_that_run_at_once_share_the_time():
    shared = profiling._shared([(0, 4, "a"), (1, 3, "b"), (6, 7, "a"), (7, 7, "c")])
    assert shared == {"a": (1 + 1 + 1 + 1, 2), "b": (1, 1), "c": (0, 1)}


def event(name, start, duration, **stats):
    return SimpleNamespace(name=name, start_ns=start * 1e9, duration_ns=duration * 1e9, stats=stats.items())


def plane(name, *events):
    return SimpleNamespace(name=name, lines=[SimpleNamespace(events=[one]) for one in events])


def test_an_operation_ends_where_its_last_thread_does():
    host = plane(
        "/host:CPU",
        event("dot.1", 0, 1, hlo_op="dot.1", _p=7),
        event("end: dot.1", 3, 0, _c=7),
        event("python", 0, 9),
        event("add", 4, 1, hlo_op="add", _p=8),
    )
    assert profiling._operations(SimpleNamespace(planes=[host])) == [[(0, 3, "dot.1"), (4, 5, "add")]]


def test_a_device_counts_and_the_host_beside_it_does_not():
    host = plane("/host:CPU", event("x", 0, 1, hlo_op="x"))
    devices = [plane(f"/device:GPU:{i}", event("kernel", 0, 1 + i, hlo_op="dot.1")) for i in range(2)]
    found = profiling._operations(SimpleNamespace(planes=[host, *devices]))
    assert found == [[(0, 1, "dot.1")], [(0, 2, "dot.1")]]
    (row,) = profiling._rows([profiling._shared(runs) for runs in found], 1, 3.0, lambda name: (name, ""))
    assert row == ("dot.1", "", 1.5, 0.5, 1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 0}, ValueError, "steps: expected at least 1"),
        ({"key": 1}, TypeError, "key: expected a typed key"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1"),
    ],
)
def test_what_cannot_be_profiled_is_refused(options, error, message):
    learner = sx.supervised(MODEL, sx.losses.cross_entropy, optax.sgd(1e-3))
    with pytest.raises(error, match=message):
        profile(learner, rows(), **{"key": KEY, "batch_size": 16, **options})
    with pytest.raises(TypeError, match=r"learner: expected a stepax\.Learner"):
        profile(MODEL, rows(), key=KEY, batch_size=16)
