"""What all kinds share: the base models, bounded types, references, and what the CRD generator reads."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
)
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

GROUP = "parley.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

MAX_TEMPLATE = 32_768
"""Characters of a template in a manifest."""
DNS_LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""RFC 1123 label, as Kubernetes checks it; the length is bounded by the field."""
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
DURATION = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"
"""Gateway API's GEP-2257: Go's duration syntax without signs, fractions and sub-millisecond units."""

_DURATION_PART = re.compile(r"([0-9]+)(ms|h|m|s)")
_UNITS = {
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

VALIDATIONS = "x-kubernetes-validations"
MAP_TYPE = "x-kubernetes-map-type"
MAP_BY_NAME: dict[str, JsonValue] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}
"""Marks a list whose items are told apart by their names."""
KEEP_DEFAULT = "x-parley-keep-default"
"""Marks a field whose default is stored in the object at creation; all other defaults are the operator's."""


class ResourceModel(BaseModel):
    """Base of every spec: camelCase in JSON, snake_case in Python, unknown fields refused, immutable."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    def to_json(self) -> dict[str, JsonValue]:
        """As it stands in a manifest: camelCase, what is unset left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(ResourceModel):
    """Base of every status: unknown fields are ignored, so that an older operator reads a newer one's."""

    model_config = ConfigDict(extra="ignore")


def _to_seconds(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Timestamp = Annotated[AwareDatetime, PlainSerializer(_to_seconds, return_type=str, when_used="json")]
"""An instant, written as Kubernetes writes ``metav1.Time``: UTC, whole seconds."""


def rule(
    expression: str, message: str, *, field: str | None = None, reason: str | None = None
) -> dict[str, JsonValue]:
    """A CEL rule of a schema node.

    Args:
        expression: CEL; true when the object is valid.
        message: what the user is told.
        field: path below the node that the answer names, such as ``.inputs``.
        reason: FieldValueForbidden, FieldValueRequired, … ; the API server's default is FieldValueInvalid.
    """
    entry: dict[str, JsonValue] = {"rule": expression, "message": message}
    if field is not None:
        entry["fieldPath"] = field
    if reason is not None:
        entry["reason"] = reason
    return entry


def rules(*entries: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The JSON Schema extra that carries CEL rules."""
    return {VALIDATIONS: list(entries)}


def immutable(field: str, *, kind: str, optional: bool = True) -> dict[str, JsonValue]:
    """A rule of the spec: the field keeps its first value.

    It stands on the spec, for a rule on an optional field misses that the field is removed or added later.
    """
    expression = f"self.{field} == oldSelf.{field}"
    if optional:
        expression = f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || {expression})"
    message = (
        f"{field} is immutable: delete the {kind} and create it again "
        "(Flux: force: true; Argo CD: Replace=true,Force=true)"
    )
    return rule(expression, message, field=f".{field}", reason="FieldValueForbidden")


Name = Annotated[str, Field(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]


def parse_duration(text: str) -> timedelta:
    """Read a duration such as ``1h30m``.

    Raises:
        ValueError: it is no duration, or is not longer than zero.
    """
    if not re.fullmatch(DURATION.strip("^$"), text, flags=re.ASCII):
        raise ValueError(f"{text!r} is no duration: write it like 90s, 5m or 1h30m")
    total = sum((int(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text)), timedelta())
    if not total:
        raise ValueError(f"{text!r} must be longer than zero")
    return total


def _check_duration(text: str) -> str:
    parse_duration(text)
    return text


Duration = Annotated[
    str,
    Field(
        max_length=32,
        pattern=DURATION,
        json_schema_extra=rules(rule("duration(self) > duration('0s')", "must be longer than zero")),
    ),
    AfterValidator(_check_duration),
]
"""A Go duration string such as ``90s`` or ``1h30m``."""


def duration_of_at_least(least: str) -> FieldInfo:
    """Describe a duration that may not be shorter than another, for the CRD; ``at_least`` checks it here."""
    limit = rule(f"duration(self) >= duration('{least}')", _too_short(least))
    return Field(max_length=32, pattern=DURATION, json_schema_extra=rules(limit))


def at_least(least: str) -> AfterValidator:
    """Refuse durations that are shorter."""

    def check(text: str) -> str:
        if parse_duration(text) < parse_duration(least):
            raise ValueError(_too_short(least))
        return text

    return AfterValidator(check)


def _too_short(least: str) -> str:
    return f"must be at least {least}"


def read_instant(text: str) -> datetime | None:
    """Read an instant as RFC 3339 has it, such as ``2027-01-31T09:00:00Z``, into UTC; None if it is none."""
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC) if _INSTANT.fullmatch(text) else None
    except (ValueError, OverflowError):
        return None


def format_duration(value: timedelta) -> str:
    """Write a duration the way users do: ``1h30m``; below a second in milliseconds."""
    milliseconds = round(value / _UNITS["ms"])
    parts: list[str] = []
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, milliseconds = divmod(milliseconds, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def shorten(text: str, limit: int) -> str:
    """Cut a text to at most ``limit`` bytes of UTF-8, never inside a character; a cut one ends with ``…``."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data.decode()
    return data[: limit - len("…".encode())].decode(errors="ignore") + "…"


def is_deeper_than(value: JsonValue, levels: int) -> bool:
    """Whether JSON is nested deeper than so many levels; without recursion, for that is what it guards."""
    layer: list[JsonValue] = [value]
    for _ in range(levels + 1):
        layer = [child for node in layer for child in _children(node)]
        if not layer:
            return False
    return True


def _children(node: JsonValue) -> Iterable[JsonValue]:
    return node if isinstance(node, list) else node.values() if isinstance(node, dict) else ()


class ObjectReference(ResourceModel):
    """An object of the same namespace, by name. It may be made later."""

    name: Name = Field(description="Name of the object, in the same namespace.")


class SecretKeyRef(ResourceModel):
    """A key of a Secret of the same namespace."""

    name: Name = Field(description="Name of the Secret, in the same namespace.")
    key: str = Field(
        min_length=1, max_length=253, pattern="^[-._a-zA-Z0-9]+$", description="Key in the Secret's data."
    )


class ConfigMapKeyRef(ResourceModel):
    """A key of a ConfigMap of the same namespace."""

    name: Name = Field(description="Name of the ConfigMap, in the same namespace.")
    key: str = Field(
        min_length=1, max_length=253, pattern="^[-._a-zA-Z0-9]+$", description="Key in the ConfigMap's data."
    )


ConditionStatus = Literal["True", "False", "Unknown"]
MAX_CONDITION_MESSAGE = 1024
"""Bytes; longer ones are cut when the condition is built."""


class Condition(StatusModel):
    """A condition as Kubernetes defines it (``metav1.Condition``)."""

    type: str = Field(max_length=64, pattern="^[A-Za-z]+$", description="Type of the condition.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(
        min_length=1, max_length=64, pattern="^[A-Za-z]+$", description="Why, in one word; part of the API."
    )
    message: str = Field(max_length=MAX_CONDITION_MESSAGE, description="Why, in a sentence for people.")
    last_transition_time: Timestamp = Field(description="When the status last changed.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation the condition was computed from."
    )


class Usage(StatusModel):
    """Tokens, as the model's provider counts them."""

    input_tokens: int = Field(default=0, ge=0, description="Tokens sent to the model.")
    output_tokens: int = Field(default=0, ge=0, description="Tokens the model answered with.")


Conditions = Annotated[
    list[Condition],
    Field(
        max_length=16,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    ),
]

FreeObject = Annotated[dict[str, JsonValue], Field(max_length=256)]
"""An object of the user's own, with any JSON below its keys."""

ObservedGeneration = Annotated[
    int | None,
    Field(ge=-1, description="The metadata.generation this status was computed from; -1: not seen yet."),
]
