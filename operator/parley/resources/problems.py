"""A problem in a manifest, how its path is written, and what can be wrong in any free-form value."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

MAX_DEPTH = 64
"""Levels of lists and maps in a free-form value; JSON readers have trouble with far more."""
_SPEC_DEPTH = 8
"""Levels a spec has above its free-form values, at most."""
QUOTE = "quote y, n, yes, no, on, off: YAML reads them as true and false"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        path: of the field, such as ``spec.steps[1].prompt.outputSchema.required[0]``.
        message: what is wrong and what to do, in a sentence without the path.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def join_path(root: str, parts: Iterable[str | int]) -> str:
    """Write a path the way Kubernetes does: ``spec.steps[0].name``; keys that are no words in brackets."""
    path = root
    for part in parts:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part.lstrip("$").replace("_", "a").replace("-", "a").isalnum():
            path += f".{part}"
        else:
            path += f"[{json.dumps(part, ensure_ascii=False)}]"
    return path


def deepest_path(value: object) -> tuple[str | int, ...] | None:
    """The path of a value that is deeper than any spec has to be; None if there is none."""
    pending: list[tuple[object, tuple[str | int, ...]]] = [(value, ())]
    while pending:
        node, parts = pending.pop()
        if len(parts) > MAX_DEPTH + _SPEC_DEPTH:
            return parts
        if isinstance(node, dict):
            items = cast("dict[str, object]", node).items()
            pending += [(child, (*parts, key)) for key, child in items if isinstance(child, (dict, list))]
        elif isinstance(node, list):
            children = enumerate(cast("list[object]", node))
            pending += [
                (child, (*parts, index)) for index, child in children if isinstance(child, (dict, list))
            ]
    return None


def free_value_problems(value: JsonValue, path: str) -> Iterator[Problem]:
    """What is wrong in a value of the user's own: keys that YAML took for booleans, nesting without end."""
    pending: list[tuple[JsonValue, tuple[str | int, ...]]] = [(value, ())]
    while pending:
        node, parts = pending.pop()
        if len(parts) > MAX_DEPTH:
            yield Problem(path, f"is nested deeper than {MAX_DEPTH} levels")
            return
        if isinstance(node, dict):
            for key in sorted(node.keys() & {"true", "false"}):
                yield Problem(join_path(path, (*parts, key)), f"the key {key!r} was not quoted; {QUOTE}")
            pending += [(child, (*parts, key)) for key, child in reversed(node.items())]
        elif isinstance(node, list):
            pending += [(child, (*parts, index)) for index, child in reversed(list(enumerate(node)))]
