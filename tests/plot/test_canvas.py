import numpy as np
import pytest
from tests.plot.pictures import BLUE, count, middle

from stepax.plot.canvas import INK, Canvas


def test_units_become_pixels_and_y_points_up():
    canvas = Canvas(100, 60, (1, 2), 10)
    canvas.box((2, 3), (4, 5), BLUE)
    image = canvas.image()
    assert image.size == (100, 60)
    # From the middle of the picture, (50, 30), two units to the right and two up.
    np.testing.assert_allclose(middle(image, BLUE), [69.5, 9.5], atol=0.6)
    assert count(image, BLUE) == pytest.approx(400, rel=0.1)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda canvas: canvas.disk((0, 0), 10, INK), np.pi * 100),
        (lambda canvas: canvas.line([(-20, 0), (20, 0)], INK, 6), 40 * 6 + np.pi * 9),
        (lambda canvas: canvas.polygon([(-10, -10), (10, -10), (0, 10)], INK), 200),
        # The head is a triangle of 10 by 11; the line's end is below it.
        (lambda canvas: canvas.arrow((-20, 0), (20, 0), INK, 4, 10), 30 * 4 + 55),
    ],
)
def test_areas_are_as_large_as_they_are(draw, expected):
    canvas = Canvas(80, 80)
    draw(canvas)
    dark = (255 - np.asarray(canvas.image().convert("L"), float)) / (255 - 43)
    assert dark.sum() == pytest.approx(expected, rel=0.1)


def test_an_arrow_to_where_it_begins_is_none():
    canvas = Canvas(20, 20)
    canvas.arrow((0, 0), (0, 0), INK)
    assert count(canvas.image(), INK) == 0


def test_a_minus_sign_is_a_line_and_no_box():
    canvas = Canvas(60, 60)
    canvas.text((0, 0), "−", size=40)
    rows = (255 - np.asarray(canvas.image().convert("L"), float)).sum(1) > 0
    assert 0 < rows.sum() <= 8


def test_a_caption_stands_in_the_corner():
    canvas = Canvas(200, 100)
    canvas.caption("step 3")
    columns, rows = middle(canvas.image(), INK)
    assert columns < 60
    assert rows < 25
