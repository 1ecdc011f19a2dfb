import matplotlib
import numpy as np
import pytest
from PIL import Image

from stepax import plot
from stepax.plot.style import BLUE, GREEN, GREY, ORANGE, VERMILION, show_image, show_signed, styled, tiled


@styled
def empty():
    figure = matplotlib.figure.Figure(figsize=(2, 1))
    figure.subplots().set_title("t")
    return figure


def test_the_style_is_of_the_figure_and_not_of_the_process():
    before = dict(matplotlib.rcParams)
    figure = empty()
    assert dict(matplotlib.rcParams) == before
    assert figure.axes[0].title.get_size() == 11
    assert not figure.axes[0].spines["top"].get_visible()


def test_save_makes_folders_and_150_dots_per_inch(tmp_path):
    path = plot.save(empty(), tmp_path / "new" / "figure.png")
    with Image.open(path) as image:
        assert image.size == (300, 150)


def test_save_follows_the_ending(tmp_path):
    assert plot.save(empty(), tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_grey_images_keep_their_scale_and_colours_stay():
    axes = matplotlib.figure.Figure().subplots()
    show_image(axes, np.full((2, 3, 1), 0.5), 0, 1)
    shown = axes.images[0]
    assert (shown.get_clim(), shown.get_array().shape) == ((0, 1), (2, 3))
    show_image(axes, np.full((2, 3, 3), 1.5))
    np.testing.assert_array_equal(axes.images[1].get_array(), np.ones((2, 3, 3)))
    assert len(axes.get_xticks()) == len(axes.get_yticks()) == 0


def test_signed_values_are_white_at_zero():
    axes = matplotlib.figure.Figure().subplots()
    show_signed(axes, np.array([[-1.0, 0.0, 2.0]]), 2.0)
    shown = axes.images[0]
    np.testing.assert_allclose(shown.cmap(shown.norm(0.0))[:3], 1, atol=0.04)


def test_tiles_stand_row_by_row_with_lines_between():
    canvas = tiled(np.arange(3)[:, None, None] * np.ones((3, 2, 1)), columns=2, fill=-1)
    expected = [[0, -1, 1], [0, -1, 1], [-1, -1, -1], [2, -1, -1], [2, -1, -1]]
    np.testing.assert_array_equal(canvas, expected)


@pytest.mark.parametrize("first", [BLUE, ORANGE, GREEN, VERMILION, GREY])
def test_colours_differ_in_grey_or_hue(first):
    red, green, blue = (int(first[i : i + 2], 16) for i in (1, 3, 5))
    # On white every one of them has to be seen: 2.1 is the contrast of the palette's lightest.
    luminance = sum(w * (v / 255) ** 2.2 for w, v in zip((0.2126, 0.7152, 0.0722), (red, green, blue), strict=True))
    assert 1.05 / (luminance + 0.05) > 2.1
