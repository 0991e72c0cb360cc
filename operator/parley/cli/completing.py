"""Complete names from the cluster. What cannot be had in time is no completion, never an error."""

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from parley.cli.app import App

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def names_of(plural: str) -> Completer:
    """Complete with the names of a kind's objects in the namespace."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            from parley.cli.reading import name_of, text
            from parley.kube import kinds

            kind = next(
                kind
                for kind in (kinds.SESSION, kinds.TASK, kinds.TASK_TEMPLATE, kinds.SCHEDULE)
                if kind.plural == plural
            )
            app = context.find_object(App) or App()
            found = app.kube.list(kind, app.namespace).items
            return [
                CompletionItem(name_of(item), help=text(item, "status", "phase") or None)
                for item in found
                if name_of(item).startswith(incomplete)
            ]
        except Exception:  # noqa: BLE001 - a shell's prompt is no place for an error
            return []

    return complete
