"""Options that several commands have; they may stand before or after the command's name."""

import os
import re
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource

from parley.cli.app import App
from parley.cli.completing import Completer, contexts, names_of

Command = TypeVar("Command", bound=Callable[..., Any])


class Decorator(Protocol):
    """Adds options to a command."""

    def __call__(self, command: Command, /) -> Command:
        """Return the command with them."""
        ...


def _keep(name: str, context: click.Context, parameter: click.Parameter, value: object) -> None:
    settings = context.ensure_object(App).settings
    if value is not None:
        setattr(settings, name, value)
        typed = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        settings.token_is_typed = settings.token_is_typed or (name == "token" and typed)


def _setting(
    *names: str,
    to: str,
    help: str,  # noqa: A002 - click's name
    metavar: str | None = None,
    envvar: str | None = None,
    type: click.ParamType[Any, Any] | None = None,  # noqa: A002 - click's name
    completer: Completer | None = None,
) -> Decorator:
    return click.option(
        *names,
        shell_complete=completer,
        help=help,
        metavar=metavar,
        envvar=envvar,
        type=type,
        expose_value=False,
        callback=partial(_keep, to),
    )


def _all(*options: Decorator) -> Decorator:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


cluster_options = _all(
    _setting(
        "-n",
        "--namespace",
        to="namespace",
        metavar="NAME",
        help="Namespace; default: the context's.",
        completer=names_of("namespaces"),
    ),
    _setting(
        "--context", to="context", metavar="NAME", help="Context of the kubeconfig.", completer=contexts
    ),
    _setting("--kubeconfig", to="kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, ~/.kube/config."),
)
"""Of every command that talks to the cluster."""

system_option = _setting(
    "--system-namespace",
    to="system_namespace",
    metavar="NAME",
    envvar="PARLEY_SYSTEM_NAMESPACE",
    help="Where Parley is installed; default: the installation that serves the namespace.",
)

gateway_options = _all(
    cluster_options,
    _setting(
        "--gateway",
        to="gateway",
        metavar="URL",
        envvar="PARLEY_GATEWAY",
        help="URL of the gateway ($PARLEY_GATEWAY); default: a kubectl port-forward to it.",
    ),
    _setting(
        "--token",
        to="token",
        metavar="TOKEN",
        envvar="PARLEY_TOKEN",
        help="Bearer token ($PARLEY_TOKEN, which others cannot see in a list of processes); default: the kubeconfig's.",
    ),
    _setting(
        "--as-service-account",
        to="service_account",
        metavar="[NS/]NAME",
        help="Ask the cluster for a token of this ServiceAccount; for kubeconfigs with a certificate and no token.",
    ),
    _setting(
        "--as-user",
        to="user",
        metavar="ID",
        help="Act for this person; needs the right act-for on users.parley.dev.",
    ),
    system_option,
)
"""Of every command that talks to the gateway."""


def output_option(*formats: str) -> Decorator:
    """``-o``, with the formats a command knows."""
    return _setting(
        "-o",
        "--output",
        to="output",
        type=click.Choice(formats or ("table", "wide", "json", "yaml", "name")),
        help="How to print; default: table.",
    )


all_namespaces = click.option("-A", "--all-namespaces", is_flag=True, help="Of every namespace.")


def wants_colour(*, err: bool = False) -> bool:
    """Whether whoever reads is a terminal that wants colour (NO_COLOR: https://no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Seconds(click.ParamType[float, str]):
    """A duration as Parley's kinds have it, such as ``90s`` or ``1h30m``; in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it."""
        units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
        text = str(value)
        if not re.fullmatch(r"(\d{1,5}(h|ms|m|s))+", text, re.ASCII):
            self.fail(f"{text!r} is no duration: write it like 90s, 5m or 1h30m", param, ctx)
        return sum(float(count) * units[unit] for count, unit in re.findall(r"(\d+)(ms|h|m|s)", text))


def timeout_option(help: str) -> Decorator:  # noqa: A002 - click's name
    """``--timeout``, in seconds; None: no end."""
    return click.option("--timeout", type=Seconds(), metavar="DURATION", help=help)
