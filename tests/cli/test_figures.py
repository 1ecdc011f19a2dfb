import jax
import pytest
from PIL import Image

from stepax.cli.figures import draw
from stepax.cli.runs import dataset_of, open_run
from stepax.cli.tokens import as_rows

CLASSES = {"learning_curves", "confusion_matrix"}


@pytest.mark.parametrize(
    ("fixture", "expected"),
    [
        ("digits_run", CLASSES | {"filters", "feature_maps", "representation"}),
        ("iris_run", CLASSES | {"representation"}),
        ("prices_run", {"learning_curves", "predictions"}),
        ("play_run", {"learning_curves"}),
        ("reviews_run", CLASSES),
    ],
)
def test_every_run_has_the_figures_that_show_something(request, tmp_path, fixture, expected):
    run = open_run(request.getfixturevalue(fixture))
    dataset = dataset_of(run)
    train, test = (as_rows(run.plan.subject, rows) for rows in dataset)
    paths = list(draw(run, train, test, tmp_path))
    assert {path.stem for path in paths} == expected
    for path in paths:
        with Image.open(path) as image:
            assert min(image.size) > 200


def test_values_too_large_for_probes_are_told_of(iris_run, tmp_path, capsys):
    run = open_run(iris_run)
    dataset = dataset_of(run)
    params = {**run.state.params, "dense_0": jax.tree.map(lambda leaf: leaf * 1e30, run.state.params["dense_0"])}
    grown = run._replace(state=run.state._replace(params=params))
    paths = draw(grown, dataset.train, dataset.test, tmp_path)
    assert {path.stem for path in paths} == CLASSES
    assert "warning: representation is left out: the values of dense_0 are too large" in capsys.readouterr().err


def test_an_example_that_is_not_there_is_refused(iris_run, tmp_path):
    run = open_run(iris_run)
    dataset = dataset_of(run)
    with pytest.raises(ValueError, match="--example: expected a row from 0 to 29, got 30"):
        list(draw(run, dataset.train, dataset.test, tmp_path, 30))
