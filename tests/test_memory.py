"""Memory is used again, and never while anybody can still see it."""

import jax
import jax.numpy as jnp
import numpy as np

from stepax.memory import KEPT, Memory

LIKES = [jax.ShapeDtypeStruct((3, 5), np.uint8), jax.ShapeDtypeStruct((1000,), np.float32)]


def places(arrays):
    return [array.ctypes.data for array in arrays]


def test_arrays_have_their_shapes_and_lie_apart():
    first, second = Memory(LIKES).arrays()
    assert (first.shape, first.dtype, second.shape, second.dtype) == ((3, 5), np.uint8, (1000,), np.float32)
    first[...], second[...] = 7, 0.5
    assert (first == 7).all()
    assert (second == 0.5).all()
    assert all(place % 64 == 0 for place in places([first, second]))
    assert Memory([jax.ShapeDtypeStruct((0, 4), np.int32), *LIKES]).arrays()[0].shape == (0, 4)


def test_what_nobody_holds_is_used_again():
    memory = Memory(LIKES)
    before = places(memory.arrays())
    assert places(memory.arrays()) == before


def test_a_view_of_a_view_keeps_the_memory():
    memory = Memory(LIKES)
    held = memory.arrays()
    views = [held[1][10:20].reshape(2, 5)[1], memoryview(held[0])[1:]]
    before = places(held)
    del held
    assert places(memory.arrays()) != before
    views.pop(0)
    assert places(memory.arrays()) != before
    views.pop()
    assert before in [places(arrays) for arrays in [memory.arrays(), memory.arrays()]]


def test_an_array_of_jax_keeps_the_memory():
    memory, sums, kept = Memory(LIKES), [], None
    for number in range(20):
        arrays = memory.arrays()
        arrays[1][...] = number
        sums.append(jnp.sum(jax.device_put(arrays[1])))
        kept = jax.device_put(arrays[1]) if number == 3 else kept
        del arrays
    assert [float(total) for total in sums] == [1000.0 * number for number in range(20)]
    assert (np.asarray(kept) == 3).all()


def test_only_so_many_blocks_are_kept():
    memory = Memory(LIKES)
    held = [memory.arrays() for _ in range(KEPT + 5)]
    del held
    assert len(memory._free) == KEPT
