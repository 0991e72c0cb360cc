"""Which versions there are: of the program, of what is installed, of the cluster."""

from importlib.metadata import version

import click
from pydantic import JsonValue

from parley.cli.app import App
from parley.cli.kube import CRD, DEPLOYMENT
from parley.cli.output import print_value
from parley.cli.reading import namespace_of, objects, text
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden, NotFound

PARLEY = "app.kubernetes.io/name=parley"
VERSION_LABEL = "app.kubernetes.io/version"


def print_versions(app: App, *, only_client: bool) -> None:
    """Print them; what may not be seen is left out, with a word why."""
    found: dict[str, JsonValue] = {"client": version("parley")}
    if not only_client:
        found["kubernetes"] = app.kube.version()
        found["kinds"] = _kinds(app)
        found["installed"] = _installed(app)
    if app.settings.output in {"json", "yaml"}:
        print_value(found, app.settings.output)
        return
    for key, value in found.items():
        shown = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        click.echo(f"{key + ':':<12} {shown or '-'}")


def _kinds(app: App) -> str:
    try:
        crd = app.kube.get(CRD, None, "tasks.parley.dev")
    except NotFound:
        return "not installed"
    except Forbidden:
        return "you may not see them"
    served = [text(one, "name") for one in objects(crd, "spec", "versions") if one.get("served") is True]
    return f"parley.dev/{', '.join(served)}"


def _installed(app: App) -> list[JsonValue]:
    try:
        found = app.kube.list(DEPLOYMENT, app.settings.system_namespace, labels=PARLEY).items
    except Forbidden:
        return ["you may not see it"]
    return [one for one in sorted({_release(deployment) for deployment in found}) if one]


def _release(deployment: JsonObject) -> str:
    labels = ("metadata", "labels")
    if text(deployment, *labels, "app.kubernetes.io/component") not in {"operator", "gateway"}:
        return ""
    component = text(deployment, *labels, "app.kubernetes.io/component")
    return f"{component} {text(deployment, *labels, VERSION_LABEL)} in {namespace_of(deployment)}"
