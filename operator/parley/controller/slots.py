"""How many tasks may work at once: places of an Agent's ``maxConcurrentTasks`` and of a namespace's limit.

Kept in memory, for only the leader gives places, and what it has given stands in the store as open attempts: a new
leader gives none before it has planned each open task once. In order of creation, then name; a task that another
limit holds back does not keep those behind it waiting. A task holds a place while it has an open attempt of a prompt
or a container: one that waits for a person, sleeps or is suspended holds none.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from parley.engine.state import Hold
from parley.resources.reasons import Reason


@dataclass(frozen=True, slots=True)
class Limit:
    """A number of places.

    Attributes:
        pool: what has them, such as ``Agent support`` or ``namespace team``, as users read it.
        namespace: where it is.
        places: at most so many tasks at once; None is no limit.
    """

    pool: str
    namespace: str
    places: int | None

    @property
    def key(self) -> tuple[str, str]:
        """Its identity, whatever its number."""
        return self.namespace, self.pool


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that may need a place in each of some pools."""

    uid: str
    namespace: str
    name: str
    created: datetime
    limits: tuple[Limit, ...]

    @property
    def order(self) -> tuple[datetime, str, str]:
        """Who comes first."""
        return self.created, self.name, self.uid


class Slots:
    """Who holds a place and who waits for one.

    For each plan of a task: ``ask``, make the plan, and ``settle``, with nothing awaited between the three.

    Args:
        wake: called with namespace and name of a task that can have a place now.
    """

    def __init__(self, wake: Callable[[str, str], None]) -> None:
        self._wake = wake
        self._unseen: set[str] = set()
        self._places: dict[tuple[str, str], int | None] = {}
        self._holders: dict[str, Claim] = {}
        self._held: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._waiting: dict[str, Claim] = {}
        self._queues: defaultdict[tuple[str, str], list[tuple[tuple[datetime, str, str], str]]] = defaultdict(
            list
        )

    def expect(self, uids: Iterable[str]) -> None:
        """Say which tasks may hold places already: nobody gets one before each of them was planned or forgotten."""
        self._unseen.update(uids)

    @property
    def pause(self) -> float:
        """Seconds until a task that waits should show its place again: all together ten times a second at most."""
        return max(10.0, len(self._waiting) / 10)

    def ask(self, claim: Claim, *, holds: bool) -> Hold | None:
        """Return why a task cannot start work now, None if it can.

        Args:
            claim: the task and its limits as they are now.
            holds: whether the store holds an open attempt of it that needs a place.
        """
        for limit in claim.limits:
            self._places[limit.key] = limit.places
        if holds:
            self._hold(claim)
            return None
        freed = self._let_go(claim.uid)
        hold = self._refusal(claim)
        if freed and hold is not None:
            # It was the older ones' turn.
            self._wake_next(claim.limits)
        return hold

    def settle(self, claim: Claim, *, starts: bool, holds: bool, wants: bool) -> None:
        """Take in a task's plan: whether it starts work now, has some, or only waits for a place."""
        if starts or holds:
            self._hold(claim)
            self._unseen_no_more(claim.uid)
            return
        freed = self._let_go(claim.uid)
        self._leave_queue(claim.uid)
        if wants:
            self._waiting[claim.uid] = claim
            for limit in claim.limits:
                insort(self._queues[limit.key], (claim.order, claim.uid))
        if freed or not wants:
            self._wake_next(claim.limits)
        # In the queue by now: where it was the last that was waited for, its own turn may have come.
        self._unseen_no_more(claim.uid)

    def forget(self, uid: str) -> None:
        """Drop a task that has ended or is gone."""
        claim = self._holders.get(uid) or self._waiting.get(uid)
        self._let_go(uid)
        self._leave_queue(uid)
        self._unseen_no_more(uid)
        if claim is not None:
            self._wake_next(claim.limits)

    def pass_over(self, uid: str) -> None:
        """Let nobody wait for a task that cannot be planned now. The place it holds stays its own: its work goes on."""
        claim = self._waiting.get(uid)
        self._leave_queue(uid)
        self._unseen_no_more(uid)
        if claim is not None:
            self._wake_next(claim.limits)

    def _unseen_no_more(self, uid: str) -> None:
        if uid in self._unseen:
            self._unseen.discard(uid)
            if not self._unseen:
                self._wake_next([limit for claim in self._waiting.values() for limit in claim.limits])

    def _hold(self, claim: Claim) -> None:
        self._leave_queue(claim.uid)
        self._let_go(claim.uid)
        self._holders[claim.uid] = claim
        for limit in claim.limits:
            self._held[limit.key] += 1

    def _let_go(self, uid: str) -> bool:
        claim = self._holders.pop(uid, None)
        if claim is None:
            return False
        for limit in claim.limits:
            self._held[limit.key] -= 1
            if not self._held[limit.key]:
                del self._held[limit.key]
        return True

    def _leave_queue(self, uid: str) -> None:
        claim = self._waiting.pop(uid, None)
        if claim is None:
            return
        for limit in claim.limits:
            queue = self._queues[limit.key]
            queue.remove((claim.order, uid))
            if not queue:
                del self._queues[limit.key]

    def _refusal(self, claim: Claim) -> Hold | None:
        limited = [limit for limit in claim.limits if limit.places is not None]
        if not limited:
            return None
        if self._unseen:
            return Hold(Reason.CONCURRENCY_LIMITED, "waits until the operator knows which tasks are running")
        granted = {each.uid for each in self._next(limited, claim)}
        if claim.uid in granted:
            return None
        full = next((limit for limit in limited if not self._has_place(limit, claim)), limited[0])
        return Hold(Reason.CONCURRENCY_LIMITED, self._position(full, claim))

    def _is_free(self, limit: Limit) -> bool:
        places = self._places.get(limit.key)
        return places is None or self._held.get(limit.key, 0) < places

    def _has_place(self, limit: Limit, claim: Claim) -> bool:
        ahead = sum(order < claim.order for order, _ in self._queues.get(limit.key, ()))
        return limit.places is None or self._held.get(limit.key, 0) + ahead < limit.places

    def _position(self, limit: Limit, claim: Claim) -> str:
        queue = self._queues.get(limit.key, [])
        ahead = sum(order < claim.order for order, _ in queue)
        length = len(queue) + (claim.uid not in self._waiting)
        return f"{_ordinal(ahead + 1)} of {length} in the queue of {limit.pool}, which has {limit.places} at once"

    def _wake_next(self, limits: Sequence[Limit]) -> None:
        for claim in self._next(limits, None):
            self._wake(claim.namespace, claim.name)

    def _next(self, limits: Iterable[Limit], asking: Claim | None) -> list[Claim]:
        """Return those of the tasks waiting for these limits, or asking, that can have a place in all they need."""
        if self._unseen or (asking is not None and not all(map(self._is_free, asking.limits))):
            return []
        keys = {limit.key for limit in limits}
        uids = {uid for key in keys for _, uid in self._queues.get(key, ())}
        claims = [self._waiting[uid] for uid in uids]
        if asking is not None:
            claims = [claim for claim in claims if claim.order < asking.order and claim.uid != asking.uid]
            claims.append(asking)
        given: defaultdict[tuple[str, str], int] = defaultdict(int)
        found: list[Claim] = []
        for claim in sorted(claims, key=lambda each: each.order):
            free = all(
                (places := self._places.get(limit.key)) is None
                or self._held.get(limit.key, 0) + given[limit.key] < places
                for limit in claim.limits
            )
            if free:
                found.append(claim)
                for limit in claim.limits:
                    given[limit.key] += 1
        return found


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
