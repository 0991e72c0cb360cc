"""A task's rows as the store gives them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from parley.store.records import AttemptRecord, TaskRecord

from tests.unit.controller.objects import NAMESPACE

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
UID = "00000000-0000-4000-8000-000000000001"


def record(**fields: Any) -> TaskRecord:
    known: dict[str, Any] = {
        "uid": UID,
        "cluster": "cluster-uid",
        "namespace": NAMESPACE,
        "name": "exit-0",
        "session_uid": None,
        "created_at": NOW,
        "registered_at": NOW,
        "deadline": None,
        "suspended_since": None,
        "gone_since": None,
        "ended": None,
        "attempts": [],
        "outputs": {},
        "turns": [],
        "input_tokens": 0,
        "output_tokens": 0,
        "now": NOW,
    }
    return TaskRecord(**(known | fields))


RUNNING = AttemptRecord(
    id=1,
    step="step",
    item=-1,
    number=1,
    cause="First",
    job="exit-0",
    index=0,
    state="Open",
    holder=None,
    deadline=NOW + timedelta(hours=1),
    lease_until=None,
    reason=None,
    message=None,
    definite=False,
    retry_after=None,
    exit_code=None,
    pod_uid=None,
    input_tokens=0,
    output_tokens=0,
    created_at=NOW,
    taken_at=None,
    ended_at=None,
)
