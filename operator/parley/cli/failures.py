"""How a command fails: one line what is wrong, one line what to do, and an exit code."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum

import click

from parley.cli.text import clean
from parley.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    KubeUnavailable,
    NotFound,
)


class ExitCode(IntEnum):
    """What the shell is told; part of the CLI's contract (docs/cli.md)."""

    OK = 0
    FAILED = 1
    """The command, or the Task it waited for, failed."""
    USAGE = 2
    """The command line is wrong (click's own)."""
    CANCELLED = 3
    """The Task it waited for was cancelled, or was deleted."""
    NOT_ENDED = 4
    """The time given by --timeout was over first; the Task goes on."""
    INTERRUPTED = 130


class CliError(Exception):
    """A command cannot do what it was asked.

    Args:
        message: what is wrong, with the name of what it is about.
        hint: what to do next; a command where there is one.
        code: for the shell.
    """

    def __init__(self, message: str, hint: str | None = None, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code

    def show(self) -> None:
        """Print both lines to stderr."""
        click.echo(f"error: {clean(self.message)}", err=True)
        if self.hint:
            click.echo(f"next:  {clean(self.hint)}", err=True)


class NoCluster(CliError):
    """There is no kubeconfig to find an API server with."""


def explained(error: Exception) -> CliError:
    """What went wrong, and what to do about it."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, KubeError):
        return _of_the_api_server(error)
    return _fault(error)


@contextmanager
def or_the_gateway() -> Generator[None]:
    """Say of what the API server refuses that the gateway may allow it: there are rights that only it knows."""
    try:
        yield
    except Forbidden as error:
        raise CliError(
            f"you may not: {error.message}",
            "ask your cluster's administrator for that right, which the role view has; or ask the gateway for what is "
            "yours: --gateway URL, or --as-service-account NAME (docs/cli.md)",
        ) from error


def _of_the_api_server(error: KubeError) -> CliError:
    if isinstance(error, KubeUnavailable):
        return CliError(error.message, "see whether the cluster is up: kubectl get --raw /readyz")
    if error.status == 401:
        return CliError(
            "the API server does not know you (401)",
            "log in again, or choose another --context: kubectl config get-contexts",
        )
    if isinstance(error, Forbidden):
        return CliError(
            f"you may not: {error.message}",
            "ask your cluster's administrator; which roles there are: docs/cli.md, or `parley doctor`",
        )
    if isinstance(error, NotFound):
        missing_kind = "could not find the requested resource" in error.message
        hint = "install Parley's kinds: the chart parley-crds; then `parley doctor`" if missing_kind else None
        return CliError(error.message, hint or "look at its name and namespace (-n)")
    if isinstance(error, Invalid):
        return CliError(error.message, "mend the field that it names")
    if error.status == 400:
        return CliError(
            error.message, "mend what it names; selectors are written as kubectl has them: -l a=b,c!=d"
        )
    if isinstance(error, (Conflict, AlreadyExists)):
        return CliError(error.message, "look at the object, then try again")
    return CliError(str(error), "try `parley doctor`")


def _fault(error: Exception) -> CliError:
    """An error nobody foresaw: without a traceback, unless PARLEY_DEBUG asks for it."""
    if os.environ.get("PARLEY_DEBUG"):
        import traceback

        click.echo("".join(traceback.format_exception(error)), err=True)
        hint = "report it with the lines above"
    else:
        hint = "run it again with PARLEY_DEBUG=1 and report what it prints"
    return CliError(f"a fault in parley itself: {type(error).__name__}: {error}", hint)
