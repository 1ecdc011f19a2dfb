import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps
from tests.plot.pictures import BLUE, GREEN, ORANGE, VERMILION, count, middle

from stepax import rl
from stepax.plot.bodies import acrobot, cart_pole, mountain_car, pendulum
from stepax.plot.canvas import INK


def mirrored(one: Image.Image, other: Image.Image) -> bool:
    """Whether two pictures are the same in a mirror, but for single pixels of edges."""
    difference = np.abs(np.asarray(one, int) - np.asarray(ImageOps.mirror(other), int)).max(-1)
    return bool((difference > 60).mean() < 0.004)


def test_a_cart_and_its_pole_stand_where_they_are():
    image = cart_pole([1.0, 0, 0.2, 0])
    assert image.size == (400, 200)
    # 70 pixels for a metre, and the middle of the track in that of the picture.
    assert middle(image, BLUE)[0] == pytest.approx(200 + 70, abs=1)
    assert middle(image, ORANGE)[0] == pytest.approx(270 + 35 * np.sin(0.2), abs=1.5)
    assert mirrored(cart_pole([0.7, 0, 0.2, 0], 1), cart_pole([-0.7, 0, -0.2, 0], 0))
    assert not mirrored(cart_pole([0.7, 0, 0.2, 0], 1), cart_pole([-0.7, 0, 0.2, 0], 0))


def test_an_arrow_shows_which_way_a_cart_is_pushed():
    assert count(cart_pole([0, 0, 0, 0]), VERMILION) < count(cart_pole([0, 0, 0, 0], 0), VERMILION)
    left, right = (middle(cart_pole([0, 0, 0, 0], action), VERMILION)[0] for action in (0, 1))
    assert left < 200 < right


@pytest.mark.parametrize("first", [0.0, 0.5, -2.5, 3.1])
@pytest.mark.parametrize("second", [0.0, 0.4, -1.0])
def test_the_end_of_an_acrobot_is_above_the_line_where_the_episode_ends(first, second):
    seen = [np.cos(first), np.sin(first), np.cos(second), np.sin(second), 0, 0]
    image = acrobot(seen)
    tip, line = middle(image, VERMILION), middle(image, GREEN)
    # Gymnasium's own rule.
    above = -np.cos(first) - np.cos(first + second) > 1
    assert (tip[1] < line[1]) == above
    assert tip[0] == pytest.approx(200 + 58 * (np.sin(first) + np.sin(first + second)), abs=1.5)


def test_a_torque_of_an_acrobot_turns_one_way_or_the_other():
    seen = [1, 0, 1, 0, 0, 0]
    heads = [middle(acrobot(seen, action), VERMILION)[0] for action in (0, 2)]
    assert heads[1] < 200 < heads[0]
    assert count(acrobot(seen, 1), VERMILION) == count(acrobot(seen), VERMILION) < count(acrobot(seen, 2), VERMILION)


@pytest.mark.parametrize("position", [-1.2, -0.5, 0.3])
def test_a_car_stands_on_its_hill(position):
    image = mountain_car([position, 0])
    column, row = middle(image, INK)
    del column
    body = middle(image, BLUE)
    height = 0.45 * np.sin(3 * position) + 0.55
    ground = 140 - 205 * (height - 0.62)
    assert body[0] == pytest.approx(200 + 205 * (position + 0.3), abs=14)
    assert 0 < ground - body[1] < 25
    assert row < 280


def test_a_push_is_as_long_as_it_is_strong():
    lengths = [count(mountain_car([-0.5, 0], np.float32([push])), VERMILION) for push in (0.0, 0.3, 1.0, 5.0)]
    assert lengths[0] == 0 < lengths[1] < lengths[2] == lengths[3]
    assert count(mountain_car([-0.5, 0], 1), VERMILION) == 0
    left, right = (middle(mountain_car([-0.5236, 0], action), VERMILION)[0] for action in (0, 2))
    body = middle(mountain_car([-0.5236, 0]), BLUE)[0]
    assert left < body < right


@pytest.mark.parametrize("angle", [0.0, 1.0, -2.0])
def test_a_pendulum_hangs_or_stands(angle):
    column, row = middle(pendulum([np.cos(angle), np.sin(angle), 0]), BLUE)
    # What is seen of the rod begins behind the joint, at 6 pixels, and ends in a round at 107.
    assert column == pytest.approx(200 - 56 * np.sin(angle), abs=2)
    assert row == pytest.approx(135 - 56 * np.cos(angle), abs=2)


def test_torques_turn_as_the_environment_does():
    environment = rl.pendulum()
    state, _ = environment.reset(jax.random.key(0))
    still = jax.tree.map(jnp.zeros_like, state)
    after = environment.step(still, jnp.array([2.0]), jax.random.key(1)).observation
    # A torque above 0 brings the rod, upright at first, to the left, and its arrow turns against the clock.
    assert middle(pendulum(after), BLUE)[0] < 200
    assert mirrored(pendulum([1, 0, 0], [2.0]), pendulum([1, 0, 0], [-2.0]))
    weak, strong = (count(pendulum([1, 0, 0], [torque]), VERMILION) for torque in (0.5, 2.0))
    assert 0 < weak < strong
