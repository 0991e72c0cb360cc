"""The values that templates read from the store: loaded when they are needed, and no more of them than that."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from pydantic import JsonValue

from parley.store.pool import Connection
from parley.store.reading import load_context, load_items, load_outputs


class Stored(Protocol):
    """What templates read from the store."""

    async def outputs(self, steps: Sequence[str]) -> dict[str, JsonValue]:
        """Whole outputs by step name; null for a step that has none, such as a skipped one."""
        ...

    async def items(self, step: str, indexes: Sequence[int]) -> Mapping[int, JsonValue]:
        """Items of a step's forEach, by their index."""
        ...

    async def context(self) -> dict[str, JsonValue] | None:
        """The session's context as set steps have left it; None until one has."""
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

    async def context(self) -> dict[str, JsonValue] | None:
        """See ``Stored``."""
        if self._session_uid is None:
            return None
        async with self._open() as connection:
            context, _ = await load_context(connection, self._session_uid)
        return context
