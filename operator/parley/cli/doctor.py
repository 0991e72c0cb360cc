"""``parley doctor``: run all checks, print what they found."""

from collections.abc import Callable, Iterable, Iterator

import click

from parley.cli.app import App
from parley.cli.failures import CliError, ExitCode, explained
from parley.cli.findings import MARKS, Finding, Verdict, ok, unseen, wrong
from parley.cli.installation import (
    Installation,
    check_operator_and_gateway,
    check_pods,
    check_policies,
    check_versions,
    find_installation,
)
from parley.cli.kinds_check import check_kinds
from parley.cli.options import wants_colour
from parley.cli.output import print_value
from parley.cli.reading import as_value
from parley.cli.store_check import check_store
from parley.cli.text import clean
from parley.cli.usage_checks import check_agents, check_rights, check_token, check_waiting_tasks
from parley.kube.errors import Forbidden, KubeError, KubeUnavailable

_OLDEST = (1, 32)
"""Minor version that Parley's kinds need: selectableFields."""


def examine(app: App, *, everywhere: bool) -> int:
    """Run all checks; returns the exit code."""
    found = list(_all(app, everywhere=everywhere))
    if app.settings.output in {"json", "yaml"}:
        print_value({"items": as_value(one.to_json() for one in found)}, app.settings.output)
    else:
        _print(found)
    return ExitCode.FAILED if any(one.verdict is Verdict.WRONG for one in found) else ExitCode.OK


def _print(found: Iterable[Finding]) -> None:
    colour = wants_colour()
    bad = 0
    for one in found:
        mark, paint = MARKS[one.verdict]
        bad += one.verdict is Verdict.WRONG
        shown = click.style(mark, fg=paint) if colour and paint else mark
        click.echo(f"{shown} {one.check}: {clean(one.says)}", color=colour or None)
        if one.do:
            click.echo(f"    do: {clean(one.do)}")
    click.echo(f"\n{bad} thing{'s are' if bad != 1 else ' is'} wrong." if bad else "\nNothing is wrong.")


def _all(app: App, *, everywhere: bool) -> Iterator[Finding]:
    server, answers = _server(app)
    yield server
    if not answers:
        return
    yield from _guarded("kinds", "get customresourcedefinitions", lambda: check_kinds(app.kube))
    try:
        installation = find_installation(app.kube, app.settings.system_namespace, app.namespace)
    except Forbidden:
        yield unseen("installation", "list deployments; or name it: --system-namespace NAME")
        installation = None
    except CliError as error:
        yield wrong("installation", error.message, error.hint or "")
        installation = None
    if installation is not None:
        yield from _installation(app, installation)
    yield from _guarded("rights", "selfsubjectaccessreviews", lambda: check_rights(app))
    yield from _guarded("token", "", lambda: check_token(app))
    namespace = None if everywhere else app.namespace
    yield from _guarded("agents", "list agents.parley.dev", lambda: check_agents(app.kube, namespace))
    yield from _guarded("tasks", "list tasks.parley.dev", lambda: check_waiting_tasks(app.kube, namespace))


def _installation(app: App, installation: Installation) -> Iterator[Finding]:
    kube = app.kube
    yield from _guarded(
        "operator and gateway",
        "get leases",
        lambda: check_operator_and_gateway(kube, installation),
    )
    yield from check_versions(installation)
    yield from _guarded("store", "get configmaps", lambda: check_store(kube, installation))
    yield from _guarded("policies", "list validatingadmissionpolicies", lambda: check_policies(kube))
    yield from _guarded("pods", "list pods", lambda: check_pods(kube, installation))


def _guarded(check: str, right: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a check finds; what the caller may not see, or what is away, ends this check and no other."""
    try:
        yield from look()
    except Forbidden:
        yield unseen(check, right)
    except (KubeError, CliError) as error:
        problem = explained(error)
        yield wrong(check, problem.message, problem.hint or "try again")


def _server(app: App) -> tuple[Finding, bool]:
    """What the API server is like, and whether it answers."""
    try:
        version = app.kube.version()
    except KubeUnavailable as error:
        hint = "see whether the cluster is up, and which context is used: kubectl config view"
        return wrong("API server", error.message, hint), False
    except KubeError as error:
        problem = explained(error)
        return wrong("API server", problem.message, problem.hint or ""), False
    says = f"{app.kube.server} answers, Kubernetes {version}"
    digits = [part for part in version.removeprefix("v").split(".")[:2] if part.isdigit()]
    if len(digits) == 2 and (int(digits[0]), int(digits[1])) < _OLDEST:
        return wrong("API server", says, f"Parley needs Kubernetes {_OLDEST[0]}.{_OLDEST[1]} or later"), True
    return ok("API server", says), True
