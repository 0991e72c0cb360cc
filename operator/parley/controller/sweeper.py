"""Erase what is kept of objects that are gone, once its time is over: by the leader, after complete lists.

A list that lies, or a backup of the cluster that lacks half of it, must not empty the store a month later: where much
of a namespace is due at once, nothing is erased until a person confirms it. What was confirmed is that day's, so that a
word nobody takes back does not lift the brake for ever.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import cast

from parley.controller.context import Context
from parley.controller.finality import is_final
from parley.controller.metrics import ERASURE_HELD, ROWS_ERASED
from parley.controller.store_identity import CONFIG_MAP_NAME
from parley.kube.events import Transition
from parley.kube.kinds import CONFIG_MAP
from parley.resources.reasons import Reason
from parley.store.idempotency import forget_answers
from parley.store.sweeping import Due, count_kept, erase_gone, list_due

log = logging.getLogger(__name__)
_MOST_AT_ONCE = 20
_LARGEST_PART = 5
"""One in so many objects of a namespace may go at once, where there are many."""


def are_too_many(due: int, kept: int) -> bool:
    """Whether so many objects of a namespace, of all it has rows of, are too many to erase at once."""
    return due > _MOST_AT_ONCE and due * _LARGEST_PART > kept


def _today() -> date:
    return datetime.now(UTC).date()


class Sweeper:
    """Erases rows whose time is over."""

    def __init__(self, context: Context, today: Callable[[], date] = _today) -> None:
        self._context = context
        self._today = today
        self._held: set[str] = set()

    async def sweep(self) -> int:
        """Erase what is due in the namespaces that are watched; return how many sessions and tasks that were.

        To be called after complete lists only: an object that is seen to exist is never erased, whatever its row says.

        Raises:
            KubeError: whether a namespace may be erased could not be read.
            StoreUnavailable: the rest comes another time.
        """
        context = self._context
        by_namespace: defaultdict[str, list[Due]] = defaultdict(list)
        async with context.store() as connection:
            for due in await list_due(connection, context.fence, context.settings.task_retention):
                if context.settings.watches(due.namespace):
                    by_namespace[due.namespace].append(due)
            await forget_answers(connection, context.fence)
            kept = await count_kept(connection, context.cluster) if by_namespace else {}
        held = await self._hold(by_namespace, kept)
        erased = 0
        for namespace, rows in by_namespace.items():
            if namespace not in held:
                erased += await self._erase(namespace, rows)
        if erased:
            log.info("erased %d sessions and tasks that were gone long enough", erased)
        return erased

    async def _erase(self, namespace: str, rows: Sequence[Due]) -> int:
        context, erased = self._context, 0
        projection = context.projection
        busy = [task.uid for task in projection.tasks if task.namespace == namespace and not is_final(task)]
        for due in rows:
            cache = projection.sessions if due.kind == "Session" else projection.tasks
            if cache.by_uid(due.uid) is not None:
                log.warning(
                    "%s %s/%s exists, though its row says that it is gone", due.kind, namespace, due.name
                )
                continue
            busy = [
                task.uid for task in projection.tasks if task.namespace == namespace and not is_final(task)
            ]
            async with context.store() as connection:
                if await erase_gone(connection, context.fence, due, context.settings.task_retention, busy):
                    ROWS_ERASED.labels(due.kind).inc()
                    erased += 1
        return erased

    async def _hold(self, due: Mapping[str, Sequence[Due]], kept: Mapping[str, int]) -> set[str]:
        """Return the namespaces in which nothing is erased now, having said so."""
        today = self._today()
        many = {name for name, rows in due.items() if are_too_many(len(rows), kept.get(name, 0))}
        held = many - await self._confirmed(today) if many else set[str]()
        for namespace in self._held | held:
            ERASURE_HELD.labels(namespace).set(len(due[namespace]) if namespace in held else 0)
        self._held = held
        for namespace in sorted(held):
            await self._tell(namespace, len(due[namespace]), kept.get(namespace, 0), today)
        return held

    async def _confirmed(self, today: date) -> set[str]:
        """Return the namespaces that a person has named in the ConfigMap's ``data.erase``, for today."""
        config = await self._context.kube.get(CONFIG_MAP, self._context.settings.namespace, CONFIG_MAP_NAME)
        data = cast("Mapping[str, str]", (config or {}).get("data") or {})
        entries = (entry.partition("/") for entry in data.get("erase", "").replace(",", " ").split())
        return {namespace for namespace, _, day in entries if day == today.isoformat()}

    async def _tell(self, namespace: str, due: int, kept: int, today: date) -> None:
        context = self._context
        note = (
            f"{due} of the {kept} sessions and tasks of namespace {namespace} are due to be erased at once, so none "
            f"is: if they are meant to go, write {namespace}/{today} into data.erase of ConfigMap {CONFIG_MAP_NAME}; "
            "it counts on that day (UTC)"
        )
        log.warning("%s", note)
        config = await context.kube.get(CONFIG_MAP, context.settings.namespace, CONFIG_MAP_NAME)
        metadata = config.get("metadata") if config else None
        context.tell(
            Transition(
                kind=CONFIG_MAP,
                namespace=context.settings.namespace,
                name=CONFIG_MAP_NAME,
                uid=str(metadata["uid"]) if isinstance(metadata, dict) else "",
                type="Warning",
                reason=Reason.ERASURE_HELD,
                note=note,
                key=f"{namespace}/{today}",
                action="Erase",
            )
        )
