"""Events: one per transition, within the API server's limits, and never in the way."""

import logging
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from parley.kube.errors import Forbidden
from parley.kube.events import Transition, event_body, post_event
from parley.kube.kinds import TASK

from tests.fake_kube import FakeKube

FAILED = Transition(
    TASK, "shop", "refund", "u-1", "Warning", "ExitCode", "Step score exited with 3.", key="score/1"
)
NOON_IN_DELHI = datetime(2026, 11, 23, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))


def test_an_event_says_what_happened_to_which_object() -> None:
    body = event_body(FAILED, instance="parley-operator-1", now=NOON_IN_DELHI)
    assert body["regarding"] == {
        "apiVersion": "parley.dev/v1alpha1",
        "kind": "Task",
        "namespace": "shop",
        "name": "refund",
        "uid": "u-1",
    }
    assert (body["type"], body["reason"], body["note"]) == (
        "Warning",
        "ExitCode",
        "Step score exited with 3.",
    )
    assert body["eventTime"] == "2026-11-23T06:30:00.000000Z"


@pytest.mark.parametrize(
    "other",
    [replace(FAILED, key="score/2"), replace(FAILED, uid="u-2"), replace(FAILED, reason="OOMKilled")],
)
async def test_a_transition_is_posted_once_and_another_is_another(other: Transition) -> None:
    kube = FakeKube()
    for transition in (FAILED, FAILED, other, replace(FAILED, note="said otherwise")):
        await post_event(kube, transition, instance="parley-operator-1")
    assert len(kube.objects) == 2


def test_long_texts_are_cut_at_the_limits_and_stay_text() -> None:
    body = event_body(
        replace(FAILED, note="ü" * 1000, name="a" * 235 + "-" + "b" * 17),
        instance="p" * 300,
        now=NOON_IN_DELHI,
    )
    note, instance = str(body["note"]), str(body["reportingInstance"])
    assert len(note.encode()) in {1023, 1024}
    assert note.endswith("ü…")
    assert len(instance.encode()) == 128
    assert str(body["metadata"]["name"]).startswith("a" * 235 + ".")  # type: ignore[index,call-overload]
    assert len(str(body["metadata"]["name"])) <= 253  # type: ignore[index,call-overload]


async def test_a_refused_event_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    kube = FakeKube()
    kube.fail(Forbidden(403, "Forbidden", "the namespace is being terminated"))
    with caplog.at_level(logging.WARNING):
        await post_event(kube, FAILED, instance="parley-operator-1")
    assert "no Event ExitCode for Task shop/refund: the namespace is being terminated" in caplog.text
