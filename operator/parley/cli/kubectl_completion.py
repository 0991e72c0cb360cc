"""``kubectl parley <Tab>``: kubectl asks the executable ``kubectl_complete-parley`` beside the plugin.

It is given the words, the last of which is to be completed, and prints a candidate a line, its description after a tab,
and last a directive: https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/ and cobra's ``__complete``.
"""

import sys

import click
from click.shell_completion import ShellComplete

_FILES = 0
_NO_FILES = 4


def main() -> None:
    """Answer kubectl."""
    from parley.cli.main import cli

    *words, incomplete = sys.argv[1:] or [""]
    found = ShellComplete(cli, {}, "parley", "_PARLEY_COMPLETE").get_completions(words, incomplete)
    for item in found:
        if item.type == "plain":
            click.echo(f"{item.value}\t{item.help}" if item.help else str(item.value))
    click.echo(f":{_FILES if any(item.type != 'plain' for item in found) else _NO_FILES}")
