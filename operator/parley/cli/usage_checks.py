"""Checks of what a caller does with an installation: rights, the token, agents, Tasks that cannot go on."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from parley.cli.app import App
from parley.cli.failures import CliError, explained
from parley.cli.findings import Finding, note, ok, wrong
from parley.cli.kube import Kube, Right
from parley.cli.reading import condition, name_of, namespace_of, text
from parley.client import Parley, ParleyError, Retries
from parley.kube.errors import KubeError
from parley.kube.kinds import AGENT, TASK

_READ = tuple(
    Right(verb, kind) for kind in ("sessions", "tasks", "replies") for verb in ("get", "list", "watch")
)
_WRITE = (
    Right("create", "tasks"),
    Right("patch", "tasks"),
    Right("create", "sessions"),
    Right("patch", "sessions"),
    Right("create", "sessions", subresource="messages"),
    Right("get", "sessions", subresource="events"),
)
_REPLY = (Right("create", "replies"),)
_SHOWN = 5
_STUCK = {
    "AgentNotFound",
    "SessionNotFound",
    "TemplateNotFound",
    "SecretNotFound",
    "ImagePullFailed",
    "Unschedulable",
    "ContainerConfigError",
    "QuotaExceeded",
    "StoreMismatch",
    "PodRefused",
}
"""Reasons that last until somebody does something."""


def check_rights(app: App) -> Iterator[Finding]:
    """What the caller may do in the namespace: to know, not to mend."""
    namespace = app.namespace
    for what, rights, role in (
        ("read", _READ, "view"),
        ("work", _WRITE, "edit"),
        ("reply and approve", _REPLY, "parley-approver"),
    ):
        lacking = [right for right in rights if not app.kube.may(right, namespace)]
        if not lacking:
            yield ok("rights", f"you may {what} in namespace {namespace}")
            continue
        few = f"{', '.join(map(str, lacking[:_SHOWN]))}{' …' if len(lacking) > _SHOWN else ''}"
        yield note(
            "rights",
            f"to {what} in namespace {namespace} you lack: {few}",
            f"if you need it: kubectl create rolebinding NAME -n {namespace} --clusterrole={role} --user=YOU",
        )


def check_token(app: App) -> Iterator[Finding]:
    """Can the caller log in at the gateway?"""
    settings = app.settings
    if settings.token:
        whose = "the one given by PARLEY_TOKEN or --token"
    elif settings.service_account:
        whose = f"that of the ServiceAccount {settings.service_account}"
    elif app.kube.token() is not None:
        whose = "your kubeconfig's"
    else:
        yield note(
            "token",
            "your kubeconfig has a certificate and no token: chat, events, export and import need one",
            "give them --as-service-account NAME, or PARLEY_TOKEN",
        )
        return
    try:
        with app.gateway() as parley:
            yield _tried(parley, whose)
    except (CliError, KubeError) as error:
        problem = explained(error)
        yield note(
            "token",
            f"there is one ({whose}), and it could not be tried at the gateway: {problem.message}",
            problem.hint or "try again",
        )


def _tried(parley: Parley, whose: str) -> Finding:
    """What the gateway says to a token."""
    # Whether it is there now is the question, not whether it will be.
    parley.retries = Retries(attempts=1)
    try:
        parley.list_sessions(limit=1)
    except ParleyError as error:
        if error.status == 401:
            return wrong(
                "token",
                f"the gateway does not take {whose}: {error.problem.detail}",
                "log in again, or give another one: --as-service-account NAME, PARLEY_TOKEN",
            )
        # Who may see nothing of a namespace is told that it is not there.
        if error.status not in {403, 404}:
            raise
        return ok("token", f"the gateway takes {whose}; to list the Sessions here it lacks the right")
    return ok("token", f"the gateway takes {whose}")


def check_agents(kube: Kube, namespace: str | None) -> Iterator[Finding]:
    """Are the agents Ready?"""
    agents = kube.list(AGENT, namespace).items
    bad = [agent for agent in agents if text(condition(agent, "Ready"), "status") != "True"]
    for agent in bad[:_SHOWN]:
        ready = condition(agent, "Ready")
        why = (
            f"{text(ready, 'reason')}: {text(ready, 'message')}" if ready else "the operator has not seen it"
        )
        yield wrong(
            "agents",
            f"{namespace_of(agent)}/{name_of(agent)} is not Ready: {why}",
            f"mend what it names: kubectl edit ag {name_of(agent)} -n {namespace_of(agent)}",
        )
    if len(bad) > _SHOWN:
        yield note("agents", f"{len(bad) - _SHOWN} more are not Ready", "kubectl get ag -A")
    if not bad:
        where = f"namespace {namespace}" if namespace else "all namespaces"
        yield ok("agents", f"{len(agents)} in {where}, all Ready" if agents else f"none in {where}")


def check_waiting_tasks(kube: Kube, namespace: str | None) -> Iterator[Finding]:
    """Do Tasks wait for something that does not come by itself?"""
    stuck: dict[str, list[str]] = defaultdict(list)
    for phase in ("Pending", "Queued", "Running"):
        for task in kube.list(TASK, namespace, fields=f"status.phase={phase}").items:
            reason = text(condition(task, "Succeeded"), "reason")
            if reason in _STUCK:
                stuck[reason].append(f"{namespace_of(task)}/{name_of(task)}")
    for reason, tasks in sorted(stuck.items()):
        yield note("tasks", f"{reason}: {_few(tasks)}", "what each reason means: docs/troubleshooting.md")
    if not stuck:
        yield ok("tasks", "none waits for something that is missing")


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
