"""Sessions as the routes need them: what is wanted of them and whose they are, kept for two seconds."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

from pydantic import BaseModel, JsonValue, ValidationError

from parley.gateway.access.one_at_a_time import OneAtATime
from parley.gateway.access.refusal import conflict
from parley.gateway.identity import Remembered
from parley.kube.client import JsonObject, KubeApi
from parley.kube.kinds import SESSION
from parley.resources.common import read_instant
from parley.resources.problems import Problem
from parley.resources.reading import read_spec
from parley.resources.session import SessionSpec

SESSION_SECONDS = 2.0
_REMEMBERED = 1000

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class SessionObject:
    """A Session as it was read a moment ago.

    Attributes:
        created: when, in whole seconds.
    """

    namespace: str
    name: str
    uid: str
    spec: SessionSpec
    created: datetime

    @property
    def user_ids(self) -> frozenset[str]:
        """Ids of the people the agent talks with."""
        return user_ids(self.spec)


class Sessions:
    """Reads Sessions from the API server.

    Args:
        kube: the API server.
        clock: monotonic seconds, for tests.
    """

    def __init__(self, kube: KubeApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._known: Remembered[tuple[str, str], SessionObject] = Remembered(
            SESSION_SECONDS, clock, most=_REMEMBERED
        )
        self._asking: OneAtATime[tuple[str, str]] = OneAtATime()

    async def read(self, namespace: str, name: str) -> SessionObject | None:
        """Return a Session as it was at most two seconds ago; None if there is none.

        Raises:
            Refusal: its spec cannot be read (409).
            KubeError: the API server does not answer.
        """
        key = (namespace, name)
        if known := self._known.get(key):
            return known
        async with self._asking(key):
            if known := self._known.get(key):
                return known
            body = await self._kube.get(SESSION, namespace, name)
            return None if body is None else self._known.put(key, session_object(body))

    def forget(self, namespace: str, name: str) -> None:
        """Read it again next time: it was changed, or is gone."""
        self._known.forget((namespace, name))


def session_object(body: JsonObject) -> SessionObject:
    """Take from an object what the routes need.

    Raises:
        Refusal: its spec cannot be read (409).
    """
    metadata = cast("JsonObject", body["metadata"])
    spec = read_known(SessionSpec, body.get("spec") or {})
    name = str(metadata["name"])
    if not isinstance(spec, SessionSpec):
        detail = (
            f'the spec of Session "{name}" cannot be read: {"; ".join(f"{p.path} {p.message}" for p in spec)}'
        )
        raise conflict(detail, reason="InvalidSpec")
    # The API server sets it always; what is as good as made just now owns nothing yet.
    created = read_instant(str(metadata.get("creationTimestamp"))) or datetime.max.replace(tzinfo=UTC)
    return SessionObject(
        str(metadata["namespace"]), name, str(metadata["uid"]), spec, created.replace(microsecond=0)
    )


def user_ids(spec: SessionSpec) -> frozenset[str]:
    """Ids of the people the agent talks with."""
    return frozenset(one.id for one in spec.people if one.id)


def read_known(model: type[ModelT], value: JsonValue) -> ModelT | list[Problem]:
    """Read a spec, without fields that this version does not know: a newer one may have written it."""
    spec = read_spec(model, value)
    if not isinstance(spec, list):
        return spec
    for path in _unknown_fields(model, value):
        value = _without(value, path)
    return read_spec(model, value)


def _unknown_fields(model: type[BaseModel], value: JsonValue) -> list[tuple[int | str, ...]]:
    try:
        model.model_validate(value)
    except ValidationError as error:
        return [item["loc"] for item in error.errors(include_url=False) if item["type"] == "extra_forbidden"]
    except RecursionError:
        pass
    return []


def _without(value: JsonValue, path: tuple[int | str, ...]) -> JsonValue:
    """Copy a value without what is at a path."""
    first, rest = path[0], path[1:]
    if isinstance(value, dict) and isinstance(first, str):
        if rest and first in value:
            return {**value, first: _without(value[first], rest)}
        return {key: item for key, item in value.items() if key != first}
    if isinstance(value, list) and isinstance(first, int) and rest:
        return [_without(item, rest) if index == first else item for index, item in enumerate(value)]
    return value
