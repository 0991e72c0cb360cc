"""The CustomResourceDefinitions, made from the models."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from parley.resources.common import GROUP, VALIDATIONS, VERSION
from parley.resources.kinds import KINDS, Kind
from parley.resources.structural import Schema, structural_schema

__all__ = ["KINDS", "MAX_CRD_BYTES", "Kind", "build_crd", "render_crds", "write_crds"]

MAX_CRD_BYTES = 200_000
"""Client-side apply copies the object into an annotation, and annotations may hold 262,144 bytes in all."""

_HEADER = "# Generated from operator/parley/resources by `make crds`. Do not edit.\n"
# kstatus takes an object without conditions for done. A status that has seen no generation at all makes it
# InProgress from the first moment, also while the operator is down.
_NOT_SEEN: Schema = {"observedGeneration": -1}


def build_crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind, as JSON."""
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.to_json() for column in kind.columns],
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    version["schema"] = {"openAPIV3Schema": _root_schema(kind)}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "parley", "app.kubernetes.io/part-of": "parley"},
        },
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short_name],
                "categories": ["parley"],
            },
            "versions": [version],
        },
    }


def _root_schema(kind: Kind) -> Schema:
    spec = structural_schema(kind.spec)
    _say_immutable(spec)
    status: Schema = {**structural_schema(kind.status), "default": _NOT_SEEN}
    status["description"] = "What the operator last saw. Written by the operator only."
    properties: Schema = {
        "apiVersion": {"type": "string", "description": "Version of the API: parley.dev/v1alpha1."},
        "kind": {"type": "string", "description": f"Kind of the object: {kind.name}."},
        # The API server knows metadata by itself; the name is here for rules to point at.
        "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
        "spec": spec,
        "status": status,
    }
    schema: Schema = {
        "description": kind.description,
        "type": "object",
        "required": ["spec"],
        "properties": properties,
    }
    if kind.rules:
        schema[VALIDATIONS] = list(kind.rules)
    return schema


def _say_immutable(spec: Schema) -> None:
    """Add to the description of a field that a rule of the spec keeps it as it is."""
    properties = cast("dict[str, Schema]", spec["properties"])
    for entry in cast("list[dict[str, str]]", spec.get(VALIDATIONS, [])):
        name = entry.get("fieldPath", "").removeprefix(".")
        if name in properties and entry["message"].startswith(f"{name} is immutable:"):
            properties[name]["description"] = f"{properties[name]['description']} Immutable."


def render_crds() -> Mapping[str, str]:
    """The text of every CRD by its file name."""
    return {kind.file_name: _HEADER + _to_yaml(build_crd(kind)) for kind in KINDS}


def write_crds(folder: Path) -> list[Path]:
    """Write every CRD into ``folder`` and say which files were written."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for name, text in render_crds().items():
        path = folder / name
        path.write_text(text)
        written.append(path)
    return written


class _NoAliasDumper(yaml.SafeDumper):
    """Writes equal parts out in full: kubectl reads anchors, people do not like to."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def _to_yaml(crd: Schema) -> str:
    return yaml.dump(crd, Dumper=_NoAliasDumper, sort_keys=False, width=110, allow_unicode=True)
