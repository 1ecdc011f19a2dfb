import numpy as np
import pytest
from PIL import Image

from stepax import plot
from stepax.plot.bodies import cart_pole
from stepax.plot.episode import episode_frames, episode_strip, save_animation


def episode(count):
    seen = np.linspace(0, 1, count + 1)[:, None] * np.ones(4) * 0.1
    return {
        "observation": seen[:-1],
        "next_observation": seen[1:],
        "action": np.arange(count) % 2,
        "reward": np.full(count, -0.5),
    }


def told(**settings):
    said = []

    def draw(seen, action, caption):
        said.append((float(np.asarray(seen).reshape(-1)[0]), action, caption))
        return Image.new("RGB", (20, 10))

    frames = episode_frames(draw, **settings)
    assert len(frames) == len(said)
    return said


def test_every_step_has_a_picture_and_the_end_one_more():
    said = told(episode=episode(3), actions=("left", "right"))
    captions = [
        "step 0   left   return 0",
        "step 1   right   return −0.5",
        "step 2   left   return −1",
        "after 3 steps   return −1.5",
    ]
    assert [caption for _, _, caption in said] == captions
    assert [action for _, action, _ in said] == [0, 1, 0, None]
    np.testing.assert_allclose([seen for seen, _, _ in said], [0, 0.1 / 3, 0.2 / 3, 0.1])


def test_of_a_long_episode_pictures_are_spread_over_it():
    said = told(episode=episode(1000), actions=("left", "right"), most=5)
    assert [caption.split("   ")[0] for _, _, caption in said] == [
        "step 0",
        "step 250",
        "step 500",
        "step 750",
        "after 1000 steps",
    ]


def test_actions_without_names_are_numbers():
    said = told(episode={**episode(2), "action": np.array([[-0.25], [1.0]])})
    assert [caption.split("   ")[1] for _, _, caption in said[:2]] == ["action −0.25", "action 1.00"]


def test_an_episode_without_steps_is_refused():
    with pytest.raises(ValueError, match="episode: expected at least one step"):
        told(episode={name: values[:0] for name, values in episode(2).items()})


def test_an_animation_has_all_pictures_and_pauses_at_its_end(tmp_path):
    frames = episode_frames(cart_pole, episode(6), actions=("left", "right"))
    path = save_animation(frames, tmp_path / "new" / "episode.gif", rate=10)
    with Image.open(path) as image:
        assert (image.n_frames, image.size) == (7, frames[0].size)
        times = []
        for number, frame in enumerate(frames):
            image.seek(number)
            times.append(image.info["duration"])
            difference = np.abs(np.asarray(image.convert("RGB"), int) - np.asarray(frame, int))
            assert difference.mean() < 4
    assert times == [100] * 6 + [1500]


@pytest.mark.parametrize(("count", "panels"), [(1, 2), (30, 8)])
def test_a_strip_shows_the_first_and_the_last(tmp_path, count, panels):
    frames = episode_frames(cart_pole, episode(count), actions=("left", "right"))
    figure = episode_strip(frames, title="one")
    shown = [axes for axes in figure.axes if axes.images]
    assert len(shown) == panels
    for axes, frame in ((shown[0], frames[0]), (shown[-1], frames[-1])):
        np.testing.assert_array_equal(axes.images[0].get_array(), np.asarray(frame))
    with Image.open(plot.save(figure, tmp_path / "strip.png")) as image:
        assert min(image.size) > 150
