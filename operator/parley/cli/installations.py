"""Which of several installations serves a namespace."""

from collections.abc import Sequence

from parley.cli.kube import DEPLOYMENT, Kube
from parley.cli.reading import namespace_of, objects, text
from parley.kube.client import JsonObject

OPERATORS = "app.kubernetes.io/name=parley,app.kubernetes.io/component=operator"
CHOOSE = "choose one: --system-namespace NAME (PARLEY_SYSTEM_NAMESPACE)"
"""What to do where it cannot be told."""
_WATCHED = "PARLEY_WATCH_NAMESPACES"


def serving(kube: Kube, found: Sequence[JsonObject], namespace: str) -> list[JsonObject]:
    """Those of the objects whose installation serves a namespace: by name, else with all others.

    One that is installed for some namespaces serves them and no others; so it wins over one that serves all.

    Raises:
        Forbidden: the caller may not see the operators.
    """
    watched = {namespace_of(one): _watched(one) for one in kube.list(DEPLOYMENT, labels=OPERATORS).items}
    by_name = [one for one in found if namespace in watched.get(namespace_of(one), ())]
    return by_name or [one for one in found if watched.get(namespace_of(one)) == []]


def _watched(operator: JsonObject) -> list[str]:
    for container in objects(operator, "spec", "template", "spec", "containers"):
        for variable in objects(container, "env"):
            if text(variable, "name") == _WATCHED:
                return [name for name in text(variable, "value").split(",") if name]
    return []
