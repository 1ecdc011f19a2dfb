"""Replays: what is drawn, sums over several steps against a slow reference, and memory written in place."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stepax.rl.prioritised import prioritised
from stepax.rl.replay import Replay, n_step, uniform

LIKE = {
    "observation": np.zeros(2, np.float32),
    "action": np.int32(0),
    "reward": np.float32(0),
    "terminated": np.False_,
    "truncated": np.False_,
    "next_observation": np.zeros(2, np.float32),
}


def numbered(first, count):
    """Transitions whose action and observation are their number."""
    number = first + jnp.arange(count, dtype=jnp.int32)
    observation = jnp.stack([number, number + 0.5], 1).astype(jnp.float32)
    no = jnp.zeros(count, bool)
    return {
        "observation": observation,
        "action": number,
        "reward": jnp.ones(count),
        "terminated": no,
        "truncated": no,
        "next_observation": observation + 1,
    }


def test_every_entry_is_equally_likely() -> None:
    replay = uniform(50)
    buffer = replay.insert(replay.init(LIKE), numbered(0, 37))  # not full
    draw = jax.jit(jax.vmap(lambda key: replay.sample(buffer, key, 20)))
    drawn = draw(jax.random.split(jax.random.key(0), 500))
    counts = np.bincount(drawn.indices.reshape(-1), minlength=37)
    assert len(counts) == 37
    assert stats.chisquare(counts).pvalue > 0.01
    np.testing.assert_array_equal(drawn.batch["action"], drawn.indices)
    np.testing.assert_array_equal(drawn.weight, np.ones((500, 20), np.float32))
    assert int(replay.size(buffer)) == 37
    assert replay.update(buffer, drawn.indices[0], jnp.ones(20)) is buffer


@pytest.mark.parametrize("replay", [uniform(8), n_step(prioritised(40), 2, 0.9)], ids=["uniform", "n-step prioritised"])
def test_what_is_drawn_from_nothing_weighs_nothing(replay) -> None:
    empty = replay.init(LIKE)
    with pytest.raises(ValueError, match="buffer: expected one with transitions to draw from"):
        replay.sample(empty, jax.random.key(0), 4)
    drawn = jax.jit(lambda buffer: replay.sample(buffer, jax.random.key(0), 4))(empty)
    assert drawn.indices.tolist() == [0] * 4
    assert drawn.weight.tolist() == [0] * 4
    assert drawn.batch["observation"].shape == (4, 2)


def episodes(time, lanes, seed):
    """Steps of episodes of random lengths, each observation with its lane and time."""
    random = np.random.default_rng(seed)
    clock = np.stack(np.broadcast_arrays(np.arange(lanes), np.arange(time)[:, None]), -1).astype(np.float32)
    return {
        "observation": clock,
        "action": random.integers(0, 9, (time, lanes)).astype(np.int32),
        "reward": random.normal(size=(time, lanes)).astype(np.float32),
        "terminated": random.random((time, lanes)) < 0.15,
        "truncated": random.random((time, lanes)) < 0.1,
        "next_observation": clock + np.float32([0, 0.5]),  # the next one of an episode's end is nowhere else
    }


def slow_entries(steps, made, keep, discount):
    """Every entry in the order in which it comes in: each lane keeps a list of the steps that are open."""
    time, lanes = made["reward"].shape
    waiting = [[] for _ in range(lanes)]
    entries = []
    for t in range(time):
        done = []
        for lane in range(lanes):
            if not keep[t, lane]:
                continue
            waiting[lane].append(t)
            ended = made["terminated"][t, lane] or made["truncated"][t, lane]
            ready = list(waiting[lane]) if ended else [s for s in waiting[lane][:1] if len(waiting[lane]) == steps]
            waiting[lane] = waiting[lane][len(ready) :]
            seen = [s for s in range(t + 1) if keep[s, lane]]
            for start in ready:
                path = [s for s in seen if s >= start]
                done.append((-len(path), lane, start, t, path))
        for _, lane, start, t, path in sorted(done):  # the longest first, then by lane
            last = {name: made[name][t, lane] for name in ("terminated", "truncated", "next_observation")}
            entries.append(
                {
                    "observation": made["observation"][start, lane],
                    "action": made["action"][start, lane],
                    "reward": sum(discount**k * made["reward"][s, lane] for k, s in enumerate(path)),
                    "discount": 0 if last["terminated"] else discount ** len(path),
                    **last,
                }
            )
    return {name: np.array([entry[name] for entry in entries]) for name in entries[0]}


@pytest.mark.parametrize(("steps", "lanes", "all_kept"), [(1, 2, True), (3, 3, True), (5, 2, False)])
def test_entries_over_several_steps_are_those_of_lists(steps, lanes, all_kept) -> None:
    made = episodes(60, lanes, seed=steps)
    keep = np.ones((60, lanes), bool) if all_kept else np.random.default_rng(9).random((60, lanes)) < 0.8
    replay = n_step(uniform(500), steps, 0.9, lanes=lanes)

    def insert(buffer, now):
        transitions, keep = now
        return replay.insert(buffer, transitions, None if all_kept else keep), None

    buffer = jax.jit(partial(jax.lax.scan, insert))(replay.init(LIKE), (made, keep))[0]
    expected = slow_entries(steps, made, keep, 0.9)
    size = int(replay.size(buffer))
    assert size == len(expected["reward"]) >= keep.sum() - (steps - 1) * lanes
    assert set(buffer.buffer.data) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(buffer.buffer.data[name][:size], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_three_steps_by_hand() -> None:
    """Rewards 1, 2, 4, 8: the fourth step terminates; then one step that is truncated, alone."""
    made = {
        "observation": np.float32([[i, i] for i in range(5)])[:, None],
        "action": np.arange(5, dtype=np.int32)[:, None],
        "reward": np.float32([[1], [2], [4], [8], [16]]),
        "terminated": np.arange(5)[:, None] == 3,
        "truncated": np.arange(5)[:, None] == 4,
        "next_observation": np.float32([[i, -i] for i in range(1, 6)])[:, None],
    }
    replay = n_step(uniform(10), 3, 0.5)
    insert = jax.jit(lambda buffer, now: (replay.insert(buffer, now), replay.size(buffer)))
    buffer, before = jax.lax.scan(insert, replay.init(LIKE), made)
    found = jax.tree.map(lambda leaf: leaf[:5].tolist(), buffer.buffer.data)
    assert [*before.tolist(), int(replay.size(buffer))] == [0, 0, 0, 1, 4, 5]
    assert found["action"] == [0, 1, 2, 3, 4]
    assert found["reward"] == [1 + 1 + 1, 2 + 2 + 2, 4 + 4, 8, 16]
    assert found["discount"] == [0.125, 0, 0, 0, 0.5]
    assert found["next_observation"] == [[3, -3], [4, -4], [4, -4], [4, -4], [5, -5]]
    assert found["terminated"] == [False, True, True, True, False]
    assert found["truncated"] == [False] * 4 + [True]


def test_what_else_a_transition_holds_is_that_of_the_first_step() -> None:
    replay = n_step(uniform(4), 2, 0.5)
    insert = jax.jit(replay.insert)
    buffer = replay.init({**LIKE, "demonstration": np.False_, "more": {"a": np.zeros(3)}})
    for i in range(2):
        more = {"demonstration": np.array([i == 0]), "more": {"a": np.full((1, 3), i, np.float32)}}
        buffer = insert(buffer, {**numbered(i, 1), **more})
    kept = jax.tree.map(lambda leaf: leaf[0].tolist(), buffer.buffer.data)
    assert (kept["demonstration"], kept["more"]["a"], kept["action"]) == (True, [0, 0, 0], 0)


@cache
def kinds(capacity=100) -> dict[str, Replay]:
    return {
        "uniform": uniform(capacity),
        "prioritised": prioritised(capacity, protected=capacity // 3),
        "n-step": n_step(uniform(capacity), 3, 0.9, lanes=2),
        "n-step prioritised": n_step(prioritised(capacity), 3, 0.9, lanes=2),
    }


def loop(replay, buffer, key, *, late=False):
    """As an agent does: insert with each step, learn from several batches with every fourth."""

    def learnt(buffer, key):
        drawn = replay.sample(buffer, key, 8)
        error = drawn.weight * drawn.batch["reward"] + drawn.batch["observation"].sum(1)
        return replay.update(buffer, drawn.indices, error), drawn

    def step(buffer, i):
        new = numbered(2 * i, 2)
        new["terminated"] = jnp.stack([i % 5 == 0, i % 7 == 0])
        keys = jax.random.split(jax.random.fold_in(key, i), 2)
        if late:
            before, buffer = buffer, replay.insert(buffer, new)
            return buffer, replay.sample(before, key, 8)
        buffer = replay.insert(buffer, new)
        drawn = jax.eval_shape(lambda: learnt(buffer, key))[1]
        none = jax.tree.map(lambda leaf: jnp.zeros((2, *leaf.shape), leaf.dtype), drawn)
        return jax.lax.cond(
            i % 4 == 3, lambda buffer: jax.lax.scan(learnt, buffer, keys), lambda buffer: (buffer, none), buffer
        )

    return jax.lax.scan(step, buffer, jnp.arange(40))


@pytest.mark.parametrize("kind", ["uniform", "n-step prioritised"])
def test_a_lane_is_its_single_run(kind) -> None:
    """Also: the same key gives the same bits, and the buffer is the carry of a scan."""
    replay = kinds(41)[kind]  # wraps around
    keys = jax.random.split(jax.random.key(3), 3)
    single = jax.jit(partial(loop, replay))
    empty = replay.init(LIKE)
    first, again = single(empty, keys[1]), single(empty, keys[1])
    jax.tree.map(np.testing.assert_array_equal, first, again)
    lanes = jax.jit(jax.vmap(partial(loop, replay), (None, 0)))(empty, keys)
    jax.tree.map(lambda one, all_: np.testing.assert_allclose(one, all_[1], rtol=1e-5), first, lanes)
    assert (np.asarray(lanes[1].indices[0]) != np.asarray(lanes[1].indices[1])).any()


def copies(function, *arguments) -> list[str]:
    """The copies of large arrays in a compiled program, whose first argument is donated."""
    text = jax.jit(function, donate_argnums=0).lower(*arguments).compile().as_text()
    found = re.findall(r"= \w+\[([\d,]+)\]\S* (?:copy|copy-start)\(", text)
    return [shape for shape in found if np.prod([int(size) for size in shape.split(",")]) >= 3000]


@pytest.mark.parametrize("kind", kinds())
def test_memory_is_written_in_place(kind) -> None:
    """In a program that inserts, draws and updates, in branches and in loops, nothing is copied that grows with it."""
    replay = kinds(50_021)[kind]
    shapes = jax.eval_shape(lambda: (replay.init(LIKE), jax.random.key(0)))
    assert not copies(partial(loop, replay), *shapes)
    lanes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((2, *leaf.shape), leaf.dtype), shapes)
    if kind == "n-step prioritised":
        assert not copies(jax.vmap(partial(loop, replay)), *lanes)


def test_a_copy_would_be_seen() -> None:
    """To draw from the buffer as it was before an insertion takes two of them."""
    replay = uniform(50_021)
    assert copies(partial(loop, replay, late=True), *jax.eval_shape(lambda: (replay.init(LIKE), jax.random.key(0))))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(0), "capacity: expected at least 1, got 0"),
        (lambda: uniform(1e6), "capacity: expected a whole number, got float 1000000.0"),
        (lambda: uniform(9, protected=9), "protected: expected fewer entries than the capacity of 9, got 9"),
        (lambda: n_step(uniform, 3, 0.9), "replay: expected a stepax.rl.Replay, .* got function"),
        (lambda: n_step(uniform(9), 0, 0.9), "steps: expected at least 1, got 0"),
        (lambda: n_step(uniform(9), 3, 1.5), "discount: expected a number from 0 to 1, got 1.5"),
        (lambda: n_step(uniform(9), 3, 0.9, lanes=0), "lanes: expected at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(make, message) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": None}, "transition: expected a 'reward', got only "),
        ({"observation": None}, "transition: expected a 'observation', got only "),
        ({"reward": np.int32(0)}, r'transition\["reward"\]: expected a floating scalar, got int32\[\]'),
        ({"truncated": np.zeros(2, bool)}, r'transition\["truncated"\]: expected a boolean scalar, got bool\[2\]'),
        ({"next_observation": np.zeros(3)}, r'transition\["next_observation"\]: expected the form of the observation'),
        ({"discount": np.float32(1)}, "transition: expected no 'discount'"),
    ],
)
def test_several_steps_need_these_parts(change, message) -> None:
    transition = {name: part for name, part in {**LIKE, **change}.items() if part is not None}
    with pytest.raises((TypeError, ValueError), match=message):
        n_step(uniform(9), 3, 0.9).init(transition)


def test_lanes_are_always_as_many() -> None:
    replay = n_step(uniform(9), 3, 0.9, lanes=2)
    with pytest.raises(ValueError, match=r'transitions\["action"\]: expected the shape .* = \(2,\), got \(3,\)'):
        replay.insert(replay.init(LIKE), numbered(0, 3))
    with pytest.raises(TypeError, match="transition: expected a dict, got list"):
        replay.init([np.zeros(2)])
