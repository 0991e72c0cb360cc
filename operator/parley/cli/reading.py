"""Read Kubernetes objects that another version may have written: what is not there is empty, never an error."""

from collections.abc import Iterable
from typing import cast

from pydantic import JsonValue

from parley.kube.client import JsonObject


def dig(value: JsonValue, *path: str) -> JsonValue:
    """The value at a path; None if there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def text(value: JsonValue, *path: str) -> str:
    """The text at a path; numbers as text, all else empty."""
    found = dig(value, *path)
    return str(found) if isinstance(found, (str, int)) and not isinstance(found, bool) else ""


def number(value: JsonValue, *path: str) -> int:
    """The whole number at a path; else 0."""
    found = dig(value, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def mapping(value: JsonValue, *path: str) -> JsonObject:
    """The object at a path; else an empty one."""
    found = dig(value, *path)
    return found if isinstance(found, dict) else {}


def objects(value: JsonValue, *path: str) -> list[JsonObject]:
    """The objects of the list at a path."""
    found = dig(value, *path)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def texts(value: JsonValue, *path: str) -> list[str]:
    """The texts of the list at a path."""
    found = dig(value, *path)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def name_of(value: JsonValue) -> str:
    """The object's name."""
    return text(value, "metadata", "name")


def namespace_of(value: JsonValue) -> str:
    """The object's namespace."""
    return text(value, "metadata", "namespace")


def condition(value: JsonValue, kind: str) -> JsonObject:
    """One of the object's conditions; an empty one if it has none of that type."""
    none: JsonObject = {}
    return next((one for one in objects(value, "status", "conditions") if one.get("type") == kind), none)


def as_value(items: Iterable[JsonObject]) -> JsonValue:
    """Objects as the JSON they are."""
    return cast("JsonValue", list(items))
