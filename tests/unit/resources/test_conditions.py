"""The condition lists of every state, held against kstatus; and when the time of a transition moves."""

from datetime import UTC, datetime, timedelta

import pytest
from parley.resources import conditions as build
from parley.resources.common import MAX_CONDITION_MESSAGE, Condition
from parley.resources.conditions import Verdict, merge_conditions
from parley.resources.reasons import Reason

from tests.kstatus import kstatus

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("verdicts", "status", "succeeded"),
    [
        (build.is_ready("ok"), "Current", None),
        (build.not_ready(Reason.AGENT_NOT_FOUND, "no agent"), "InProgress", None),
        (build.invalid(Reason.INVALID_SPEC, "bad"), "Failed", None),
        (build.task_in_progress(Reason.RUNNING, "runs"), "InProgress", "Unknown"),
        (build.task_suspended("stands still"), "InProgress", "Unknown"),
        (build.task_succeeded("done"), "Current", "True"),
        (build.task_cancelled("as asked"), "Current", "False"),
        (build.task_failed(Reason.EXIT_CODE, "exit code 3"), "Failed", "False"),
        (
            [*build.task_in_progress(Reason.WAITING_FOR_INPUT, "asks"), *build.is_waiting("asks")],
            "InProgress",
            "Unknown",
        ),
        ([*build.task_suspended("stands still"), *build.is_waiting("asks")], "InProgress", "Unknown"),
        ([*build.task_succeeded("done"), *build.is_pruned("no Jobs")], "Current", "True"),
        ([*build.task_failed(Reason.EXIT_CODE, "bad"), *build.is_pruned("no Jobs")], "Failed", "False"),
        ([*build.is_ready("ok"), *build.is_waiting("a task asks")], "Current", None),
        ([*build.is_ready("ok"), *build.session_active("it takes messages")], "Current", None),
        # A session that sleeps or has ended is as its spec wants it: nothing is to be waited for.
        ([*build.is_ready("ok"), *build.session_inactive(Reason.DORMANT, "idle")], "Current", None),
        ([*build.is_ready("ok"), *build.session_inactive(Reason.ARCHIVED, "as asked")], "Current", None),
        (
            [*build.not_ready(Reason.AGENT_NOT_FOUND, "no agent"), *build.session_active("")],
            "InProgress",
            None,
        ),
        (build.schedule_suspended("stands still"), "Current", None),
        (build.reply_pending("no Task yet"), "InProgress", None),
        (build.reply_accepted("maria replied approve"), "Current", None),
        (build.reply_refused(Reason.TOO_LATE, "an hour ago"), "Failed", None),
    ],
)
def test_kstatus_reads_each_state_right(verdicts: list[Verdict], status: str, succeeded: str | None) -> None:
    written = [c.to_json() for c in merge_conditions([], verdicts, generation=4, now=NOW)]
    resource = {"metadata": {"generation": 4}, "status": {"observedGeneration": 4, "conditions": written}}
    assert kstatus(resource).status == status
    by_type = {c["type"]: c for c in written}
    assert by_type.get("Succeeded", {}).get("status") == succeeded
    assert all(c["observedGeneration"] == 4 and c["reason"] for c in written)


def test_the_time_of_a_transition_moves_only_when_the_status_flips() -> None:
    # Given a task that has been running for a while
    first = merge_conditions([], build.task_in_progress(Reason.SCHEDULING, "pod"), generation=1, now=NOW)
    # When only the reason changes
    second = merge_conditions(first, build.task_in_progress(Reason.RUNNING, "runs"), generation=1, now=LATER)
    # Then every time stays, and the reason is the new one
    assert {c.last_transition_time for c in second} == {NOW}
    assert {c.reason for c in second} == {"Running"}
    # When it ends
    third = merge_conditions(second, build.task_succeeded("done"), generation=1, now=LATER)
    # Then the times move, and what is true only while work goes on is gone
    assert [(c.type, c.last_transition_time) for c in third] == [("Ready", LATER), ("Succeeded", LATER)]


def test_conditions_of_others_are_not_taken_over() -> None:
    foreign = Condition(type="Audited", status="True", reason="Seen", message="", last_transition_time=NOW)
    merged = merge_conditions([foreign], build.is_ready("ok"), generation=1, now=LATER)
    assert [c.type for c in merged] == ["Ready"]


def test_a_long_message_is_cut_to_what_the_schema_allows() -> None:
    (condition,) = merge_conditions([], build.is_ready("é" * 5000), generation=1, now=NOW)
    assert len(condition.message.encode()) <= MAX_CONDITION_MESSAGE


def test_no_two_reasons_share_a_name_and_each_is_one_word() -> None:
    assert len({reason.value for reason in Reason}) == len(Reason)
    assert all(reason.value.isalpha() and reason.value[0].isupper() for reason in Reason)
