"""Hold a status against the CRD that is checked in: bounds, enums, and no field that the API server would drop."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

CRDS = Path(__file__).parent.parent / "crds"


def status_problems(plural: str, status: object) -> list[str]:
    """What the API server would refuse or drop in the status of a kind; empty for a good one."""
    return [f"{error.json_path}: {error.message}" for error in _validator(plural).iter_errors(status)]


@cache
def _validator(plural: str) -> Draft202012Validator:
    crd = yaml.safe_load((CRDS / f"{plural}.parley.dev.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    return Draft202012Validator(_closed(version["schema"]["openAPIV3Schema"]["properties"]["status"]))


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse what a structural schema drops in silence: fields that are not in ``properties``."""
    closed = dict(schema)
    if "properties" in schema:
        closed["properties"] = {name: _closed(field) for name, field in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            closed["additionalProperties"] = False
    if isinstance(schema.get("items"), dict):
        closed["items"] = _closed(schema["items"])
    return closed
