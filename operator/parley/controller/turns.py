"""Whose turn it is in a session: which steps are ready for it, who waits for whom, and for whose reply.

The ready steps are kept by the task reconciler, and read when tickets are given.

Tickets are given over all ready steps of a session at once, in order of creation, so that the order does not depend
on which task was reconciled first; and never before each open task of the session has been planned once.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from parley.controller.resource import Resource
from parley.store.records import ReadyTurn, TurnRecord


class ReadySteps:
    """For each planned task: the steps that are ready for their turn or have it, in the task's order."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, ...]] = {}

    def __contains__(self, task_uid: str) -> bool:
        """Whether a task has been planned."""
        return task_uid in self._steps

    def note(self, task_uid: str, steps: tuple[str, ...]) -> bool:
        """Remember a plan's answer; tells whether it is another than before."""
        changed = self._steps.get(task_uid) != steps
        self._steps[task_uid] = steps
        return changed

    def forget(self, task_uid: str) -> None:
        """Drop a task that ended or is gone."""
        self._steps.pop(task_uid, None)

    def in_order(self, tasks: Iterable[Resource]) -> list[ReadyTurn] | None:
        """Return the ready steps of a session's open tasks, oldest first; None while one has not been planned."""
        ordered = sorted(tasks, key=lambda task: (task.created, task.name))
        if any(task.uid not in self._steps for task in ordered):
            return None
        return [ReadyTurn(task.uid, task.name, step) for task in ordered for step in self._steps[task.uid]]


class Askers:
    """Which tasks hold their session's turn while they wait for a person: the others of the session say so."""

    def __init__(self) -> None:
        self._sessions: dict[str, str] = {}

    def note(self, task: Resource, session: str | None) -> bool:
        """Remember whose turn waits, None for nobody's; tells whether that is news."""
        if session is None:
            return self.forget(task.uid) is not None
        changed = self._sessions.get(task.uid) != session
        self._sessions[task.uid] = session
        return changed

    def may_ask(self, session: str) -> bool:
        """Whether a turn of a session of this name waits, in any namespace: if not, nobody need look whose it is."""
        return session in self._sessions.values()

    def forget(self, task_uid: str) -> str | None:
        """Drop a task that ended or is gone; returns the session whose turn it held."""
        return self._sessions.pop(task_uid, None)


def before_in_line(turns: Sequence[TurnRecord]) -> dict[str, TurnRecord]:
    """Return, by the uid of each task that waits, the turn of another that comes right before its first one.

    ``turns`` are a session's that wait or are held, by ticket.
    """
    found: dict[str, TurnRecord] = {}
    # The one that is held goes on, whatever its ticket.
    line = sorted(turns, key=lambda turn: (turn.state != "Held", turn.ticket))
    for before, turn in pairwise(line):
        if turn.task_uid is not None and before.task_uid != turn.task_uid:
            found.setdefault(turn.task_uid, before)
    return found


class Lines:
    """Whom each task in a session's queue comes after: it shows that, and is to show it anew when that one leaves."""

    def __init__(self) -> None:
        self._before: dict[str, Mapping[str, str | None]] = {}

    def note(self, session_uid: str, turns: Sequence[TurnRecord]) -> set[str]:
        """Remember a session's queue; returns the tasks, by uid, that come after another one than before."""
        known = self._before.get(session_uid, {})
        now = {uid: turn.task_uid for uid, turn in before_in_line(turns).items()}
        if now:
            self._before[session_uid] = now
        else:
            self.forget(session_uid)
        return {uid for uid, before in now.items() if uid in known and known[uid] != before}

    def forget(self, session_uid: str) -> None:
        """Drop a session that is gone, or in which nobody waits."""
        self._before.pop(session_uid, None)
