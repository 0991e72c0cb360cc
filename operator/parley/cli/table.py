"""Tables as kubectl prints them: columns aligned, no lines; colour only where the terminal wants it."""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click

from parley.cli.options import wants_colour
from parley.cli.text import fit, one_line, width

_GAP = "   "
_LEAST_FLEXIBLE = 12

COLOURS = {
    "Succeeded": "green",
    "Running": "cyan",
    "Active": "green",
    "WaitingForInput": "yellow",
    "Waiting": "yellow",
    "Suspended": "yellow",
    "Paused": "yellow",
    "Failed": "red",
    "Cancelled": "magenta",
}
"""Of phases; all others have none."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column. A flexible one holds what people wrote: it is cut where the terminal ends, and nowhere else."""

    title: str
    flexible: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """A text with a colour."""

    text: str
    colour: str | None = None


def phase(text: str) -> Cell:
    """A phase in its colour."""
    return Cell(text or "-", COLOURS.get(text))


def print_table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[Cell | str]], *, colour: bool | None = None
) -> None:
    """Print rows under their columns' titles."""
    for line in table_lines(columns, rows, colour=wants_colour() if colour is None else colour):
        click.echo(line, color=True if colour else None)


def table_lines(
    columns: Sequence[Column | str],
    rows: Iterable[Sequence[Cell | str]],
    *,
    colour: bool,
    terminal: int | None = None,
) -> list[str]:
    """The lines of a table; cut to the terminal only where there is one."""
    heads = [column if isinstance(column, Column) else Column(column) for column in columns]
    cells = [[Cell(column.title) for column in heads]]
    cells += [[_cell(cell) for cell in row] for row in rows]
    widths = [max(width(row[index].text) for row in cells) for index in range(len(heads))]
    limit = terminal or (shutil.get_terminal_size().columns if wants_colour() else None)
    if limit is not None:
        widths = _within(widths, heads, limit)
    return [_line(row, widths, colour=colour) for row in cells]


def _cell(cell: Cell | str) -> Cell:
    whole = cell if isinstance(cell, Cell) else Cell(cell)
    return Cell(one_line(whole.text) or "-", whole.colour)


def _within(widths: list[int], columns: Sequence[Column], limit: int) -> list[int]:
    """Take what is too much from the flexible columns, the widest first."""
    fitting = [*widths]
    flexible = [index for index, column in enumerate(columns) if column.flexible]
    over = sum(widths) + len(_GAP) * (len(widths) - 1) - limit
    while over > 0 and flexible:
        widest = max(flexible, key=lambda index: fitting[index])
        if fitting[widest] <= _LEAST_FLEXIBLE:
            break
        fitting[widest] -= 1
        over -= 1
    return fitting


def _line(row: Sequence[Cell], widths: Sequence[int], *, colour: bool) -> str:
    parts: list[str] = []
    for cell, columns in zip(row, widths, strict=True):
        text = fit(cell.text, columns)
        padding = " " * (columns - width(text))
        parts.append((click.style(text, fg=cell.colour) if colour and cell.colour else text) + padding)
    return _GAP.join(parts).rstrip()
