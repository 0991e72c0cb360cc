"""A task's stored values, without asking the store for those that came with its rows."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from pydantic import JsonValue

from parley.controller.stored_values import StoredValues
from parley.engine.state import Output
from parley.store.pool import Connection


class KnownValues(StoredValues):
    """What templates read for one action.

    Args:
        known: the outputs of all steps that have one, some of them cut.
    """

    def __init__(
        self,
        open_connection: Callable[[], AbstractAsyncContextManager[Connection]],
        task_uid: str,
        session_uid: str | None,
        known: Mapping[str, Output],
    ) -> None:
        super().__init__(open_connection, task_uid, session_uid)
        self._known = known

    async def outputs(self, steps: Sequence[str]) -> dict[str, JsonValue]:
        """See ``Stored``."""
        whole = {name: output.value for name, output in self._known.items() if not output.cut}
        cut = [name for name in steps if name in self._known and name not in whole]
        found = await super().outputs(cut)
        return {name: found.get(name, whole.get(name)) for name in steps}
