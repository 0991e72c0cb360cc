"""The values that templates read from the store: loaded when they are needed, and no more of them than that."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from parley.store.pool import Connection
from parley.store.reading import load_context, load_items, load_outputs


@dataclass(frozen=True, slots=True)
class SessionContext:
    """A session's stored context at one moment.

    Attributes:
        values: None until something was stored: then the Session's own holds.
        version: what whoever writes it must have seen; 0 until something was stored.
    """

    values: dict[str, JsonValue] | None = None
    version: int = 0


class Stored(Protocol):
    """What templates read from the store."""

    async def outputs(self, steps: Sequence[str]) -> dict[str, JsonValue]:
        """Whole outputs by step name; null for a step that has none, such as a skipped one."""
        ...

    async def items(self, step: str, indexes: Sequence[int]) -> Mapping[int, JsonValue]:
        """Items of a step's forEach, by their index."""
        ...

    async def context(self) -> SessionContext:
        """The session's context as set steps and tools have left it; the same one however often it is asked for."""
        ...


class StoredValues:
    """One task's stored values.

    Args:
        open_connection: lends a connection to the store.
        task_uid: whose outputs and items.
        session_uid: whose context; None for a task without a session.
    """

    def __init__(
        self,
        open_connection: Callable[[], AbstractAsyncContextManager[Connection]],
        task_uid: str,
        session_uid: str | None,
    ) -> None:
        self._open = open_connection
        self._task_uid = task_uid
        self._session_uid = session_uid
        self._context: SessionContext | None = None

    async def outputs(self, steps: Sequence[str]) -> dict[str, JsonValue]:
        """See ``Stored``."""
        if not steps:
            return {}
        async with self._open() as connection:
            found = await load_outputs(connection, self._task_uid, steps)
        return {name: found.get(name) for name in steps}

    async def items(self, step: str, indexes: Sequence[int]) -> Mapping[int, JsonValue]:
        """See ``Stored``."""
        async with self._open() as connection:
            return await load_items(connection, self._task_uid, step, indexes)

    async def context(self) -> SessionContext:
        """See ``Stored``."""
        if self._session_uid is None:
            return SessionContext()
        if self._context is None:
            async with self._open() as connection:
                self._context = SessionContext(*await load_context(connection, self._session_uid))
        return self._context
