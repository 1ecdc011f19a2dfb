"""``stepax record``: demonstrations, for ``stepax train --agent dqfd`` and other uses."""

import numpy as np

from stepax import data
from stepax.checks import check_count
from stepax.cli.agents.options import Record
from stepax.cli.agents.record import demonstrated, returns_of
from stepax.cli.console import say

__all__ = ["main"]


def main(options: Record) -> None:
    """Plays episodes, writes their steps to a file, and says what they have brought.

    Raises:
        ValueError: An option is out of range or does not apply; the run is none of an agent.
        OSError: The file cannot be written.
    """
    check_count("--episodes", options.episodes)
    if options.out.suffix != ".npz":
        raise ValueError(f"--out: expected a file called .npz, got {options.out}")
    out = options.out.expanduser()
    if out.exists():
        raise ValueError(f"--out: {out} exists already; remove it, or name another file")
    out.parent.mkdir(parents=True, exist_ok=True)
    who, steps = demonstrated(options)
    data.save_demonstrations(out, steps)
    returns = returns_of(steps)
    listed = ", ".join(f"{value:g}" for value in returns[:20]) + (", …" if len(returns) > 20 else "")
    say(f"{options.episodes:,} episodes, {len(steps['reward']):,} steps of {who}, in {out}")
    say(f"returns    {listed}")
    say(f"mean       {np.mean(returns):.2f}, from {returns.min():g} to {returns.max():g}")
