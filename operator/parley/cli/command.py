"""A click command whose help ends with examples."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import click


class Command(click.Command):
    """See the module. ``examples`` are whole command lines; a test parses each."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def command(
    name: str,
    short_help: str,
    *examples: str,
    **options: Any,  # noqa: ANN401
) -> Callable[[Callable[..., Any]], Command]:
    """Make a command: its name, its line in the list, and its examples."""
    return partial(_make, name, short_help, examples, options)


def _make(
    name: str, short_help: str, examples: Sequence[str], options: dict[str, Any], function: Callable[..., Any]
) -> Command:
    make = click.command(name, cls=Command, short_help=short_help, examples=examples, **options)
    return make(function)
