"""Agents on the command line: what ``stepax train --env`` trains, and what the other commands do with it."""

__all__: list[str] = []
