"""What a bad manifest is, and how its YAML is written in a table.

``Admission``: the API server refuses it at once. ``Condition``: only the operator can know; the object is stored and
its status says so, with reason InvalidSpec.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import yaml


class Seen(StrEnum):
    ADMISSION = "Admission"
    CONDITION = "Condition"


@dataclass(frozen=True)
class BadManifest:
    """A manifest and its answer.

    Attributes:
        what: is wrong with it.
        manifest: its YAML, without apiVersion.
        field: path of the field the answer names.
        words: that the answer has.
        seen: where the answer comes from.
        first: the YAML of the object that exists already, if this one is a change of it.
    """

    what: str
    manifest: str
    field: str
    words: tuple[str, ...]
    seen: Seen = Seen.ADMISSION
    first: str | None = None

    def __str__(self) -> str:
        return self.what

    def load(self) -> dict[str, Any]:
        """The manifest, complete."""
        return _load(self.manifest)

    def load_first(self) -> dict[str, Any] | None:
        """What exists before it, complete."""
        return None if self.first is None else _load(self.first)


def _load(text: str) -> dict[str, Any]:
    manifest = _as_kubectl(yaml.safe_load(text))
    return {"apiVersion": "parley.dev/v1alpha1", **manifest}


def _as_kubectl(value: Any) -> Any:
    """Keys that YAML reads as booleans become strings, as kubectl makes JSON of them."""
    if isinstance(value, dict):
        words = {True: "true", False: "false"}
        return {
            words.get(key, key) if isinstance(key, bool) else key: _as_kubectl(v) for key, v in value.items()
        }
    return [_as_kubectl(item) for item in value] if isinstance(value, list) else value


def task(spec: str, name: str = "t") -> str:
    lines = "\n".join(f"  {line}" for line in spec.strip("\n").splitlines())
    return f"kind: Task\nmetadata: {{name: {name}}}\nspec:\n{lines}\n"


def container(field: str) -> str:
    return task(f"steps:\n- name: run\n  container:\n    image: i\n    {field}\n")


def argument(template: str, spec: str = "inputs: {order: '1'}") -> str:
    """A Task of three steps; the template is the second one's argument."""
    return task(
        f"{spec}\n"
        "steps:\n"
        "- {name: look-up, container: {image: i}}\n"
        f"- name: score\n  container:\n    image: i\n    args:\n    - |-\n      {template}\n"
        "- {name: pay, container: {image: i}}\n"
    )


def schema(schema: str) -> str:
    return task(
        f"agentRef: {{name: a}}\nsteps:\n- name: ask\n  prompt: {{text: '?', outputSchema: {schema}}}\n"
    )
