"""``stepax info``: what there is, on this machine and by name."""

import os
import pathlib

import jax
from rich.markup import escape
from rich.table import Table

from stepax import record
from stepax.cli.agents.environments import ENVIRONMENTS
from stepax.cli.agents.settings import AGENTS
from stepax.cli.console import OUT
from stepax.cli.losses import LOSSES
from stepax.cli.models import MODELS
from stepax.cli.optimizers import OPTIMIZERS, SCHEDULES
from stepax.cli.options import Info
from stepax.cli.reading import names
from stepax.cli.text_models import NAMES, TEXT_MODELS
from stepax.compile import cache_folder
from stepax.data import cache_dir

__all__ = ["main", "size"]


def main(options: Info) -> None:
    """Prints devices, versions, folders, and all that can be asked for by name."""
    del options
    made = record.environment()
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("devices", f"{made['device']['count']} × {made['device']['kind']} ({made['device']['platform']})")
    table.add_row("processor", f"{made['processor']['model']}, {made['processor']['cores']} cores")
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in made["versions"].items()))
    chosen = getattr(jax.config, "jax_compilation_cache_dir", None)
    compiled = pathlib.Path(chosen) if chosen else cache_folder()
    table.add_row("compiled programs", escape(f"{compiled}, {size(compiled)}"))
    table.add_row("downloads", escape(f"{cache_dir()}, {size(cache_dir(), leave_out=compiled)}"))
    table.add_row("data folder", escape(os.environ.get("STEPAX_DATA", "")) or "none: STEPAX_DATA is not set")
    table.add_row("")
    table.add_row("data", ", ".join(names()))
    for i, (name, about) in enumerate(_models().items()):
        table.add_row("models" if i == 0 else "", f"{name}: {about}")
    table.add_row("losses", ", ".join(LOSSES))
    table.add_row("optimizers", ", ".join(OPTIMIZERS))
    table.add_row("schedules", ", ".join(SCHEDULES))
    for i, (name, where) in enumerate(ENVIRONMENTS.items()):
        table.add_row("environments" if i == 0 else "", escape(f"{name}: {where.about}"))
    table.add_row("agents", ", ".join(AGENTS))
    OUT.print(table)


def _models() -> dict[str, str]:
    """All models by name, with a line about each."""
    found = {name: choice.about for name, choice in MODELS.items()}
    by_name = ((name, table[name].about) for name in NAMES for table in TEXT_MODELS.values() if name in table)
    return found | {name: about for name, about in by_name if about}


def size(folder: pathlib.Path, leave_out: pathlib.Path | None = None) -> str:
    """How much a folder holds, for people: ``12.3 MB in 45 files``.

    Args:
        folder: The folder; it may not exist.
        leave_out: A folder inside it that does not count.
    """
    files = [
        path for path in folder.rglob("*") if path.is_file() and (leave_out is None or leave_out not in path.parents)
    ]
    total = sum(path.stat().st_size for path in files)
    return f"{total / 1e6:.1f} MB in {len(files):,} files" if files else "empty"
