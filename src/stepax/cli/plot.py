"""``stepax plot``: the figures of a run."""

from stepax.cli.console import say
from stepax.cli.figures import draw
from stepax.cli.kinds import is_agent
from stepax.cli.options import Plot
from stepax.cli.runs import dataset_of, open_run
from stepax.cli.tokens import as_rows

__all__ = ["main"]


def main(options: Plot) -> None:
    """Draws the figures of a run and prints where they are.

    Raises:
        ValueError: The folder or its data do not fit, or there is no such example.
    """
    folder = options.out or options.run / "figures"
    if is_agent(options.run):
        from stepax.cli.agents import figures, runs  # what is for agents is imported only for them

        for path in figures.draw(runs.open_agent(options.run), folder, options.example):
            say(str(path))
        return
    run = open_run(options.run)
    dataset = dataset_of(run)
    train, test = (as_rows(run.plan.subject, rows) for rows in dataset)
    for path in draw(run, train, test, folder, options.example):
        say(str(path))
