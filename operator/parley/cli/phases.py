"""The word after ``--phase``."""

from enum import StrEnum

import click


def read_phase(given: str | None, phases: type[StrEnum]) -> str | None:
    """The phase that is meant, whatever its letters' case.

    Raises:
        click.UsageError: there is none of that name; the message lists those there are.
    """
    if given is None:
        return None
    for known in phases:
        if known.value.lower() == given.lower():
            return known.value
    raise click.UsageError(f"--phase {given}: there is no such phase; there are {', '.join(phases)}")
