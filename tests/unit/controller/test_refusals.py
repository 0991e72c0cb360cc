"""Why a Job has no pod: read from the Job controller's Events, once for all Jobs of a namespace."""

from datetime import timedelta

from parley.controller.refusals import Refusals, newest_refusals
from parley.engine.pods import JobView
from parley.engine.state import Attempt
from parley.engine.step_plan import lacks_pod
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden
from parley.kube.kinds import EVENT

from tests.fake_kube import FakeKube
from tests.unit.engine.builders import NOW, attempt, pod

QUOTA = "is forbidden: exceeded quota: none, requested: pods=1, used: pods=0, limited: pods=0"


class Clock:
    """Seconds that pass when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def event(name: str, job: str, note: str, *, at: str, reason: str = "FailedCreate") -> JsonObject:
    """An Event as the Job controller posts it."""
    return {
        "metadata": {"name": name},
        "reason": reason,
        "note": note,
        "regarding": {"kind": "Job", "uid": job},
        "eventTime": None,
        "deprecatedLastTimestamp": at,
    }


def test_the_newest_event_of_a_job_counts_and_the_tries_name_is_left_out() -> None:
    said = newest_refusals(
        [
            event("c", "job-1", f'Error creating: pods "build-x2x2x" {QUOTA}', at="2026-01-01T10:00:09Z"),
            event(
                "a",
                "job-1",
                'Error creating: pods "build-q1q1q" is forbidden: old',
                at="2026-01-01T10:00:01Z",
            ),
            event("b", "job-2", "timeout", at="2026-01-01T10:00:02Z"),
        ]
    )

    assert said == {"job-1": f"the step's pod {QUOTA}", "job-2": "timeout"}


async def test_one_list_answers_for_a_namespace_and_only_for_seconds() -> None:
    kube, clock = FakeKube(), Clock()
    refusals = Refusals(kube, clock)
    await kube.create(EVENT, "shop", event("one", "job-1", "first", at="2026-01-01T10:00:01Z"))
    await kube.create(
        EVENT, "shop", event("other", "job-1", "pulled", at="2026-01-01T10:00:02Z", reason="Pulled")
    )
    await kube.create(EVENT, "desk", event("far", "job-3", "elsewhere", at="2026-01-01T10:00:03Z"))

    assert await refusals.in_namespace("shop") == {"job-1": "first"}

    await kube.create(EVENT, "shop", event("two", "job-1", "second", at="2026-01-01T10:00:04Z"))
    assert await refusals.in_namespace("shop") == {"job-1": "first"}
    clock.now += 6
    assert await refusals.in_namespace("shop") == {"job-1": "second"}
    assert [request.verb for request in kube.requests].count("list") == 2


async def test_events_that_cannot_be_read_stop_nothing() -> None:
    kube, clock = FakeKube(), Clock()
    refusals = Refusals(kube, clock)
    await kube.create(EVENT, "shop", event("one", "job-1", "first", at="2026-01-01T10:00:01Z"))
    await refusals.in_namespace("shop")

    clock.now += 6
    kube.fail(Forbidden(403, "Forbidden", "no list for you"), verb="list")

    assert await refusals.in_namespace("shop") == {"job-1": "first"}


def test_only_a_job_that_should_have_a_pod_by_now_is_asked_about() -> None:
    waits = attempt()
    jobs = {waits.job: JobView(waits.job, "uid")}
    ended = {waits.job: JobView(waits.job, "uid", failed_reason="BackoffLimitExceeded")}
    late = NOW + timedelta(seconds=4)

    def asked(of: Attempt = waits, **given: object) -> bool:
        known = {"jobs": jobs, "pods": {}, "now": late, **given}
        return lacks_pod(of, **known)  # type: ignore[arg-type]

    assert asked()
    assert not asked(now=waits.created_at + timedelta(seconds=1))
    assert not asked(pods={waits.job: pod()})
    assert not asked(jobs={})
    assert not asked(jobs=ended)
    assert not asked(attempt(phase="TimedOut"))
