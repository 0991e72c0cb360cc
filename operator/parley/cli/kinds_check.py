"""Are Parley's kinds there, and are they those of this version?"""

from collections.abc import Iterator

from parley.cli.findings import Finding, ok, wrong
from parley.cli.kube import CRD, Kube
from parley.cli.reading import dig, mapping, objects, text
from parley.kube.client import JsonObject
from parley.kube.errors import NotFound
from parley.kube.kinds import PARLEY_VERSION
from parley.resources.crd import build_crd
from parley.resources.kinds import KINDS

_INSTALL = "install them: helm upgrade --install parley-crds <chart parley-crds> of the version you run"

_SCHEMA = ("schema", "openAPIV3Schema")


def check_kinds(kube: Kube) -> Iterator[Finding]:
    """Every kind, by what its CRD serves; one line when all are as this version has them."""
    missing: list[str] = []
    older: dict[str, str] = {}
    unserved: list[str] = []
    for kind in KINDS:
        try:
            crd = kube.get(CRD, None, f"{kind.plural}.parley.dev")
        except NotFound:
            missing.append(kind.name)
            continue
        served = next(
            (one for one in objects(crd, "spec", "versions") if text(one, "name") == PARLEY_VERSION), None
        )
        established = any(
            text(one, "type") == "Established" and text(one, "status") == "True"
            for one in objects(crd, "status", "conditions")
        )
        if served is None or served.get("served") is not True or not established:
            unserved.append(kind.name)
            continue
        wanted = next(iter(objects(build_crd(kind), "spec", "versions")))
        lacking = missing_field(
            mapping(wanted, "schema", "openAPIV3Schema"), mapping(served, "schema", "openAPIV3Schema")
        )
        if lacking:
            older[kind.name] = lacking
    if missing:
        yield wrong("kinds", f"not installed: {', '.join(missing)}", _INSTALL)
    if unserved:
        yield wrong("kinds", f"{', '.join(unserved)} are not served as {PARLEY_VERSION}", _INSTALL)
    for name, field in older.items():
        yield wrong("kinds", f"{name} is of another version: it lacks the field {field}", _INSTALL)
    if not (missing or unserved or older):
        yield ok(
            "kinds", f"all {len(KINDS)} are installed, parley.dev/{PARLEY_VERSION}, as this version has them"
        )


def missing_field(wanted: JsonObject, found: JsonObject, path: str = "") -> str:
    """The first field of a schema that another one lacks; empty if it has all of them."""
    for name, schema in mapping(wanted, "properties").items():
        here = f"{path}.{name}" if path else name
        other = dig(found, "properties", name)
        if not isinstance(other, dict):
            # A schema that takes anything has every field.
            if dig(found, "x-kubernetes-preserve-unknown-fields") is True:
                continue
            return here
        if isinstance(schema, dict):
            below = missing_field(schema, other, here)
            if below:
                return below
    items = dig(wanted, "items")
    if isinstance(items, dict):
        return missing_field(items, mapping(found, "items"), f"{path}[]")
    return ""
