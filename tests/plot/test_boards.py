import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import ImageColor
from tests.plot.pictures import BLUE, GREEN, ORANGE, VERMILION, count, middle

from stepax import rl
from stepax.plot.boards import HEAD, catch, cliff_walking, deep_sea, frozen_lake, taxi

HOLE = "#1F4E6B"


def square(image, rows, columns):
    """Which square the walker is in."""
    side = (image.size[1] - HEAD - 4) / rows
    column, row = middle(image, VERMILION)
    edge = (image.size[0] - side * columns) / 2
    return int((row - HEAD - 2) // side), int((column - edge) // side)


@pytest.mark.parametrize("place", [0, 6, 15])
def test_a_walker_is_where_the_number_says(place):
    assert square(frozen_lake(place), 4, 4) == divmod(place, 4)
    assert square(frozen_lake(place, rows=rl.LAKE_8X8), 8, 8) == divmod(place, 8)
    assert square(cliff_walking(place), 4, 12) == divmod(place, 12)


def test_arrows_point_where_the_environment_leads():
    # From a place in the middle, on ice that is not slippery and far from the cliff.
    lake, cliff = rl.frozen_lake(slippery=False, steps=None), rl.cliff_walking()
    for environment, draw, place, columns in ((lake, frozen_lake, 9, 4), (cliff, cliff_walking, 17, 12)):
        for action in range(4):
            after = int(environment.step(jnp.int32(place), action, jax.random.key(0)).state)
            moved = np.subtract(divmod(after, columns), divmod(place, columns))
            with_arrow, without = (np.asarray(draw(place, given), int) for given in (action, None))
            changed = np.argwhere(np.abs(with_arrow - without).max(-1) > 60).mean(0)
            walker = middle(draw(place), VERMILION)[::-1]
            assert np.sign(np.round((changed - walker) / 8)).astype(int).tolist() == moved.tolist()


def test_holes_and_cliff_are_dark():
    assert count(frozen_lake(0), HOLE) > 4 * 1000
    assert count(cliff_walking(36), HOLE) > 10 * 500


def test_a_taxi_drives_fetches_and_brings():
    environment = rl.taxi()
    # In the middle, the passenger at the first stop, wants to go to the second.
    state = ((2 * 5 + 2) * 5 + 0) * 4 + 1
    image = taxi(state)
    taxi_at, passenger = middle(image, ORANGE), middle(image, VERMILION)
    assert passenger[0] < taxi_at[0]
    assert passenger[1] < taxi_at[1]
    limited, _ = environment.reset(jax.random.key(0))
    for action, along, sense in ((0, 1, 1), (1, 1, -1), (2, 0, 1), (3, 0, -1)):
        after = environment.step(limited._replace(state=jnp.int32(state)), action, jax.random.key(0))
        moved = middle(taxi(after.observation), ORANGE) - taxi_at
        assert np.sign(moved[along]) == sense
    # The middle of the taxi's square.
    side = (image.size[1] - HEAD - 4) / 5
    place = round(2 + 2.5 * side), round(HEAD + 2 + 2.5 * side)
    shown = [taxi(((2 * 5 + 2) * 5 + passenger) * 4 + 1).getpixel(place) for passenger in (0, 4)]
    assert shown == [ImageColor.getrgb(color) for color in (ORANGE, VERMILION)]


def test_a_destination_is_framed():
    frames = [count(taxi(((2 * 5 + 2) * 5 + 0) * 4 + destination), GREEN) for destination in (1, 2)]
    assert frames[0] > 2 * frames[1]


def test_the_ball_falls_and_the_paddle_is_below():
    environment = rl.catch()
    state, seen = environment.reset(jax.random.key(0))
    heights = []
    for _ in range(8):
        image = catch(seen)
        heights.append(middle(image, VERMILION)[1])
        assert middle(image, BLUE)[1] > heights[-1]
        made = environment.step(state, 1, jax.random.key(1))
        state, seen = made.state, made.observation
    assert np.diff(heights).min() > 0


def test_the_end_of_a_fall_shows_ball_and_paddle():
    caught, missed = np.zeros((10, 5)), np.zeros((10, 5))
    caught[9, 2] = 1
    missed[9, [0, 4]] = 1
    assert count(catch(caught), VERMILION) > 50
    assert count(catch(missed), BLUE) == pytest.approx(2 * count(catch(caught), BLUE), rel=0.2)


@pytest.mark.parametrize("depth", [4, 30])
def test_a_diver_is_where_the_board_says(depth):
    board = np.zeros((depth, depth))
    board[2, 1] = 1
    image = deep_sea(board)
    assert square(image, depth, depth) == (2, 1)
    assert count(deep_sea(np.zeros((depth, depth))), VERMILION) == 0
    assert middle(image, ORANGE)[0] > 0.8 * image.size[0]
