"""Complete names from the cluster. What cannot be had in time is no completion, never an error."""

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from parley.cli.app import App

if TYPE_CHECKING:
    from parley.kube.kinds import Kind

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

SECONDS = 2.0
"""How long somebody who pressed Tab is kept waiting."""


def _in_time(ask: Callable[[], Iterable[CompletionItem]]) -> list[CompletionItem]:
    """Ask in a thread that is left behind when it takes too long: a connection cannot be interrupted."""
    found: list[CompletionItem] = []

    def run() -> None:
        try:
            found.extend(list(ask()))
        except Exception:  # noqa: BLE001 - a shell's prompt is no place for an error
            return

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return list(found)


def _app(context: click.Context) -> App:
    return context.find_object(App) or App()


def _names(app: App, kind: "Kind", incomplete: str, prefix: str = "") -> list[CompletionItem]:
    from parley.cli.reading import name_of, text

    found = app.kube.list(kind, app.namespace if kind.namespaced else None).items
    return [
        CompletionItem(prefix + name_of(item), help=text(item, "status", "phase") or None)
        for item in found
        if name_of(item).startswith(incomplete)
    ]


def names_of(plural: str) -> Completer:
    """Complete with the names of a kind's objects, in the namespace if it has one."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        def ask() -> list[CompletionItem]:
            from parley.kube import kinds

            known = (
                kinds.SESSION,
                kinds.TASK,
                kinds.TASK_TEMPLATE,
                kinds.SCHEDULE,
                kinds.AGENT,
                kinds.NAMESPACE,
            )
            kind = next(kind for kind in known if kind.plural == plural)
            return _names(_app(context), kind, incomplete)

        return _in_time(ask)

    return complete


def targets(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete ``[KIND/]NAME``: Tasks, and once a kind is there its names."""
    before, slash, name = incomplete.rpartition("/")

    def ask() -> list[CompletionItem]:
        from parley.cli.steering import target_of
        from parley.kube.kinds import TASK

        if not slash:
            return _names(_app(context), TASK, incomplete)
        # The kind alone is enough here; a name makes it a whole target.
        kind, _ = target_of(f"{before}/any")
        return _names(_app(context), kind, name, f"{before}/")

    kinds = [] if slash else [CompletionItem(f"{kind}/") for kind in ("session", "schedule")]
    return [*_in_time(ask), *(kind for kind in kinds if kind.value.startswith(incomplete))]


def contexts(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete with the contexts of the kubeconfig."""

    def ask() -> list[CompletionItem]:
        from parley.cli.kubeconfig import context_names

        names = context_names(_app(context).settings.kubeconfig)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]

    return _in_time(ask)
