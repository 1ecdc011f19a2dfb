"""``stepax plot``: the figures of a run."""

from stepax.cli.console import say
from stepax.cli.figures import draw
from stepax.cli.options import Plot
from stepax.cli.runs import dataset_of, open_run

__all__ = ["main"]


def main(options: Plot) -> None:
    """Draws the figures of a run and prints where they are.

    Raises:
        ValueError: The folder or its data do not fit, or there is no such example.
    """
    run = open_run(options.run)
    dataset = dataset_of(run)
    folder = options.out or options.run / "figures"
    for path in draw(run, dataset.train, dataset.test, folder, options.example):
        say(str(path))
