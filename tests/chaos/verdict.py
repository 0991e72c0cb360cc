"""What became of the work: lost, duplicate, stuck. All three must be zero."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

from tests.chaos.shapes import SCHEDULE, Work
from tests.cluster import Cluster, condition
from tests.e2e.conftest import Store
from tests.e2e.servers import ask

ENDS = {"Succeeded", "Failed", "Cancelled"}

_DUPLICATES: dict[str, LiteralString] = {
    "step committed more than once": "SELECT t.name, a.step, a.item, count(*) FROM attempts a"
    " JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s AND a.state = 'Succeeded'"
    " GROUP BY t.uid, t.name, a.step, a.item HAVING count(*) > 1",
    "message said more than once": "SELECT s.name, e.task, e.step, e.role, count(*) FROM events e"
    " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s AND e.type = 'message'"
    " GROUP BY 1, 2, 3, 4 HAVING count(*) > 1",
    "reply taken more than once": "SELECT t.name, w.step, count(*) FROM replies r JOIN waits w ON w.id = r.wait_id"
    " JOIN tasks t ON t.uid = w.task_uid WHERE t.namespace = %s AND r.accepted GROUP BY 1, 2, w.id HAVING count(*) > 1",
    "child made more than once": "SELECT t.parent_uid, t.parent_attempt, count(*) FROM tasks t"
    " WHERE t.namespace = %s AND t.parent_attempt IS NOT NULL GROUP BY 1, 2 HAVING count(*) > 1",
}
_LOST: dict[str, LiteralString] = {
    "session with a gap": "SELECT s.name, count(*), max(e.sequence), s.last_sequence FROM events e"
    " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s GROUP BY s.uid, s.name, s.last_sequence"
    " HAVING count(*) <> max(e.sequence) OR min(e.sequence) <> 1 OR max(e.sequence) <> s.last_sequence",
    "call without a result": "SELECT s.name, e.task, e.content->>'id' FROM events e"
    " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s AND e.type = 'toolCall'"
    " AND 1 <> (SELECT count(*) FROM events r WHERE r.session_uid = e.session_uid AND r.type = 'toolResult'"
    "           AND r.task_uid = e.task_uid AND r.content->>'id' = e.content->>'id')",
    "question without an answer": "SELECT s.name, e.task, e.step, count(*) FROM events e"
    " JOIN sessions s ON s.uid = e.session_uid WHERE s.namespace = %s AND e.type = 'message'"
    " GROUP BY 1, 2, 3 HAVING count(DISTINCT e.role) <> 2",
}
_STUCK: dict[str, LiteralString] = {
    "attempt left open": "SELECT t.name, a.step, a.item, a.state FROM attempts a JOIN tasks t ON t.uid = a.task_uid"
    " WHERE t.namespace = %s AND (a.state IN ('Open', 'Running') OR (a.state = 'Paused' AND NOT EXISTS (SELECT 1"
    "      FROM attempts later WHERE (later.task_uid, later.step, later.item) = (a.task_uid, a.step, a.item)"
    "      AND later.number > a.number)))",
    "turn left open": "SELECT s.name, u.task_name, u.step, u.state FROM turns u JOIN sessions s ON s.uid = u.session_uid"
    " WHERE s.namespace = %s AND u.state IN ('Waiting', 'Held')",
    "question left open": "SELECT t.name, w.step FROM waits w JOIN tasks t ON t.uid = w.task_uid"
    " WHERE t.namespace = %s AND w.state = 'Open'",
}


@dataclass
class Verdict:
    """What was found, a sentence each."""

    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing was."""
        return not (self.lost or self.duplicate or self.stuck)

    def __str__(self) -> str:
        lines = [f"lost: {len(self.lost)}, duplicate: {len(self.duplicate)}, stuck: {len(self.stuck)}"]
        for kind in ("lost", "duplicate", "stuck"):
            lines += [f"  {kind}: {sentence}" for sentence in getattr(self, kind)]
        return "\n".join(lines)


def unended(cluster: Cluster, namespace: str) -> list[str]:
    """Names of the tasks that have not ended, children among them."""
    return [
        body["metadata"]["name"]
        for body in cluster.list("task", namespace)
        if body["status"].get("phase") not in ENDS
    ]


def decided(reply: Mapping[str, Any]) -> bool:
    """Whether a Reply was taken or refused."""
    return condition(reply, "Accepted").get("status") in {"True", "False"}


def judge(
    cluster: Cluster, store: Store, namespace: str, works: list[Work], minutes: Iterable[int] = ()
) -> Verdict:
    """Look at everything, once all tasks have ended or their time is up.

    Args:
        minutes: since 1970, at which the Schedule of every minute had to make a Task.
    """
    verdict = Verdict()
    bodies = {body["metadata"]["name"]: body for body in cluster.list("task", namespace)}
    for work in works:
        _judge_task(bodies.get(work.name), work, verdict)
    _judge_payments(cluster, namespace, works, verdict)
    slots = [f"{SCHEDULE}-{minute:010d}" for minute in minutes]
    verdict.lost += [f"task {name} of the Schedule was never made" for name in slots if name not in bodies]
    verdict.stuck += [f"task {name}" for name in unended(cluster, namespace)]
    for reply in cluster.list("reply", namespace):
        if not decided(reply):
            verdict.stuck.append(f"reply {reply['metadata']['name']} was never judged")
    for found, queries in ((verdict.lost, _LOST), (verdict.duplicate, _DUPLICATES), (verdict.stuck, _STUCK)):
        for what, query in queries.items():
            found += [f"{what}: {row}" for row in store.rows(query, namespace)]
    [(said,)] = store.rows(
        "SELECT count(*) FROM events e JOIN sessions s ON s.uid = e.session_uid"
        " WHERE s.namespace = %s AND e.type = 'message'",
        namespace,
    )
    expected = 2 * sum(work.turns for work in works)
    if said < expected:
        verdict.lost.append(f"{expected - said} messages of {expected}")
    if said > expected:
        verdict.duplicate.append(f"{said - expected} messages more than {expected}")
    return verdict


def _judge_payments(cluster: Cluster, namespace: str, works: list[Work], verdict: Verdict) -> None:
    """What a tool does must be done once, however often its call is repeated."""
    orders = [f"{namespace}/{order}" for work in works for order in work.pays]
    paid = ask(cluster, "shop", "refunds")["orders"] if orders else []
    verdict.lost += [f"payment of {order}" for order in orders if order not in paid]
    verdict.duplicate += [f"payment of {order}" for order in orders if paid.count(order) > 1]


def _judge_task(body: dict[str, Any] | None, work: Work, verdict: Verdict) -> None:
    if body is None:
        verdict.lost.append(f"task {work.name} is not there")
        return
    status = body["status"]
    phase = status.get("phase")
    if phase in ENDS and (phase, status.get("output")) != ("Succeeded", work.output):
        said = condition(body, "Succeeded").get("message")
        verdict.lost.append(
            f"task {work.name}: {phase}, {status.get('output')!r} instead of {work.output!r}: {said}"
        )
