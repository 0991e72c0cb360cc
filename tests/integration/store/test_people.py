"""A person is asked, answers once, or does not: what counts is decided once, for good."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from parley.resources.reasons import Reason
from parley.store import replies, sessions, tasks, turns
from parley.store.leader import tick
from parley.store.records import ReplyVerdict

from tests.integration.store.story import MINUTE, Story, says

HOUR = timedelta(hours=1)
TAKEN = ReplyVerdict(accepted=True, why=None, message="")


async def answer(
    story: Story, task: str, wait: str, *, uid: str | None = None, by: str = "ann", **body: Any
) -> ReplyVerdict:
    async with story.conn() as conn:
        return await replies.answer_wait(
            conn, story.fence, reply_uid=uid or str(uuid4()), task_uid=task, wait_id=wait, body=body, by=by
        )


async def expire(story: Story, wait: str, *default: Any) -> bool:
    async with story.conn() as conn:
        return await replies.expire_wait(conn, story.fence, wait, *default, has_default=bool(default))


async def past(story: Story) -> None:
    """Let all deadlines of waits lie behind."""
    await story.sql("UPDATE waits SET deadline = now() - interval '1 s' WHERE state = 'Open'")


async def reply_events(story: Story, session: str) -> list[tuple[Any, ...]]:
    return await story.sql(
        "SELECT sequence, type, role, content, task, step, attempt, ticket FROM events"
        " WHERE session_uid = %s AND type = 'reply' ORDER BY sequence",
        session,
    )


async def test_a_question_is_shown_while_it_is_open(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, patience=HOUR)
    (shown,) = (await story.load(task)).waits
    assert (shown.id, shown.step, shown.item, shown.kind, shown.state) == (
        wait, "confirm", -1, "Question", "Open",
    )  # fmt: skip
    assert shown.body == {"question": "Refund?", "choices": ["approve", "reject"]}
    assert shown.deadline == shown.created_at + HOUR
    endless = await story.ask(task, "again")
    assert [(row.id, row.deadline is None) for row in (await story.load(task)).waits] == [
        (wait, False),
        (endless, True),
    ]


async def test_an_answer_is_the_output_and_an_event_of_the_session(story: Story) -> None:
    # Given a conversation, and a task in it that asks
    alice = await story.session()
    await story.converse(alice, "Refund me", "One moment")
    task = await story.task(alice, "refund")
    wait = await story.ask(task)
    async with story.conn() as conn:
        waiting = await sessions.session_summary(conn, alice)
    assert waiting is not None
    assert (waiting.tasks_active, waiting.tasks_waiting) == (2, 1)

    # When somebody answers
    assert await answer(story, task, wait, choice="approve", message="ok", by="ann@company.com") == TAKEN

    # Then it is known who said what
    output = (await story.outputs(task))["confirm"]
    assert isinstance(output, dict)
    at = output.pop("at")
    assert isinstance(at, str)
    assert at.endswith("Z")
    assert output == {"choice": "approve", "by": "ann@company.com", "message": "ok"}
    content = {"question": "Refund?", "choice": "approve", "by": "ann@company.com", "message": "ok"}
    assert await reply_events(story, alice) == [(3, "reply", None, content, "refund", "confirm", None, None)]
    confirm = await story.step(task, "confirm")
    assert (confirm.state, confirm.ended_at is None) == ("Succeeded", False)
    assert (await story.load(task)).waits == []
    async with story.conn() as conn:
        summary = await sessions.session_summary(conn, alice)
    assert summary is not None
    assert (summary.last_sequence, summary.messages, summary.tasks_waiting) == (3, 2, 0)

    # And a conversation goes on after it
    await story.converse(alice, "Thanks", "Bye")
    assert [event[0] for event in await story.events(alice)] == [1, 2, 3, 4, 5]


async def test_an_answer_without_a_session_is_no_event(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, question="How much?")
    assert await answer(story, task, wait, value={"amount": 10}) == TAKEN
    output = (await story.outputs(task))["confirm"]
    assert isinstance(output, dict)
    assert {key: value for key, value in output.items() if key != "at"} == {
        "value": {"amount": 10}, "by": "ann", "message": "",
    }  # fmt: skip
    assert await story.sql("SELECT * FROM events") == []


async def test_nobody_answers_may_be_an_answer_itself(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, question="Anything?")
    assert await answer(story, task, wait, value=None) == TAKEN
    assert ((await story.outputs(task))["confirm"] or {})["value"] is None  # type: ignore[index]


@pytest.mark.parametrize(
    ("body", "why", "says_so"),
    [
        ({"choice": "maybe"}, Reason.UNKNOWN_CHOICE, "spec.choice maybe is unknown: it must be one of approve, reject"),
        ({"choice": "Approve"}, Reason.UNKNOWN_CHOICE, "approve, reject"),
        ({"value": "approve"}, Reason.UNKNOWN_CHOICE, "spec.choice is missing: it must be one of approve, reject"),
        ({}, Reason.UNKNOWN_CHOICE, "spec.choice is missing"),
        ({"choice": "approve", "message": "x" * 2**20}, Reason.RESULT_TOO_LARGE, "The reply is 1,048,"),
    ],
)  # fmt: skip
async def test_an_answer_that_was_not_asked_for_changes_nothing(
    story: Story, body: dict[str, Any], why: Reason, says_so: str
) -> None:
    task = await story.task()
    wait = await story.ask(task)
    verdict = await answer(story, task, wait, **body)
    assert (verdict.accepted, verdict.why) == (False, why)
    assert says_so in verdict.message
    assert [row.state for row in (await story.load(task)).waits] == ["Open"]
    assert await answer(story, task, wait, choice="approve") == TAKEN


async def test_a_choice_for_a_question_without_choices_is_refused(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, question="How much?")
    verdict = await answer(story, task, wait, choice="10")
    assert (verdict.why, "spec.value" in verdict.message) == (Reason.UNKNOWN_CHOICE, True)


async def test_the_same_reply_gets_the_same_verdict_for_good(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    wait = await story.ask(task)
    wrong = await answer(story, task, wait, uid="r1", choice="maybe")
    first = await answer(story, task, wait, uid="r2", choice="approve")
    second = await answer(story, task, wait, uid="r3", choice="reject", by="bob")
    unknown = await answer(story, task, str(uuid4()), uid="r4", choice="approve")
    assert (wrong.why, first, second.why, unknown.why) == (
        Reason.UNKNOWN_CHOICE,
        TAKEN,
        Reason.ALREADY_ANSWERED,
        Reason.NOT_WAITING,
    )
    assert second.message == "ann has answered this already"

    await story.end(task)
    again = [await answer(story, task, wait, uid=f"r{n}", choice="approve") for n in (1, 2, 3, 4)]
    assert again == [wrong, first, second, unknown]
    assert len(await reply_events(story, alice)) == 1


async def test_what_nobody_asks_cannot_be_answered(story: Story) -> None:
    task, other, cancelled, gone = [await story.task() for _ in range(4)]
    waits = {uid: await story.ask(uid) for uid in (other, cancelled, gone)}
    await story.end(cancelled, "Cancelled")
    async with story.conn() as conn:
        await tasks.task_gone(conn, story.fence, gone)
    for uid, wait in (
        (task, str(uuid4())),
        (task, waits[other]),
        (task, "no id at all"),
        ("unknown", waits[other]),
        (cancelled, waits[cancelled]),
        (gone, waits[gone]),
    ):
        verdict = await answer(story, uid, wait, choice="approve")
        assert (verdict.accepted, verdict.why) == (False, Reason.NOT_WAITING), (uid, verdict)
    assert "status.waiting" in (await answer(story, task, waits[other], choice="approve")).message
    assert (await story.load(cancelled)).waits == []
    assert len((await story.load(other)).waits) == 1


async def test_a_question_of_an_earlier_run_is_not_that_of_this_one(story: Story) -> None:
    before, now = await story.task(name="refund"), await story.task(name="refund")
    old = await story.ask(before)
    await story.ask(now)
    verdict = await answer(story, now, old, choice="approve")
    assert verdict.why is Reason.NOT_WAITING
    assert len((await story.load(now)).waits) == 1


async def test_an_answer_after_the_deadline_is_too_late(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, patience=MINUTE)
    assert not await expire(story, wait, "reject")
    await past(story)
    verdict = await answer(story, task, wait, choice="approve")
    assert (verdict.why, verdict.message.startswith("the answer was due at 20")) == (Reason.TOO_LATE, True)
    assert await expire(story, wait, "reject")
    assert (await answer(story, task, wait, choice="approve")).why is Reason.TOO_LATE
    output = (await story.outputs(task))["confirm"]
    assert isinstance(output, dict)
    assert {key: value for key, value in output.items() if key != "at"} == {
        "choice": "reject", "by": None, "message": "",
    }  # fmt: skip
    assert (await story.step(task, "confirm")).state == "Succeeded"
    assert not await expire(story, wait, "reject")


async def test_a_question_without_choices_has_a_value_by_default(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, patience=MINUTE, question="How much?")
    await past(story)
    assert await expire(story, wait, None)
    assert ((await story.outputs(task))["confirm"] or {})["value"] is None  # type: ignore[index]


async def test_a_question_without_a_default_fails_its_step(story: Story) -> None:
    task = await story.task()
    wait = await story.ask(task, patience=MINUTE)
    await past(story)
    assert await expire(story, wait)
    confirm = await story.step(task, "confirm")
    assert (confirm.state, confirm.reason) == ("Failed", "WaitTimeout")
    assert (confirm.message or "").startswith("nobody answered by 20")
    assert await story.outputs(task) == {}
    assert not await expire(story, "no id at all")
    assert not await expire(story, str(uuid4()))


async def test_patience_stands_still_while_the_task_or_everything_does(story: Story) -> None:
    # Given a question with 5 minutes left
    task = await story.task()
    wait = await story.ask(task, patience=5 * MINUTE)
    before = (await story.load(task)).waits[0].deadline
    assert before is not None

    # When the task is suspended for longer
    await story.suspend(task)
    await story.sql("UPDATE tasks SET suspended_since = suspended_since - interval '1 h'")
    await story.sql("UPDATE waits SET deadline = deadline - interval '1 h'")
    assert not await expire(story, wait, "reject"), "nothing strikes a suspended task"
    await story.suspend(task, suspended=False)

    # Then it has about as much left; and an outage takes nothing of it either
    resumed = (await story.load(task)).waits[0].deadline
    assert resumed is not None
    assert timedelta(0) <= resumed - before < MINUTE
    await story.sql("UPDATE leader SET tick = tick - interval '100 s'")
    async with story.conn() as conn:
        moved = await tick(conn, story.fence)
    assert (await story.load(task)).waits[0].deadline == resumed + moved


async def test_a_suspended_task_takes_an_answer_until_its_patience_is_over(story: Story) -> None:
    intime, late = await story.task(), await story.task()
    waits = [await story.ask(task, patience=MINUTE) for task in (intime, late)]
    for task in (intime, late):
        await story.suspend(task)
    await story.sql("UPDATE tasks SET suspended_since = suspended_since - interval '1 h'")
    await story.sql("UPDATE waits SET deadline = deadline - interval '30 min' WHERE id = %s", waits[0])
    await story.sql("UPDATE waits SET deadline = deadline - interval '2 h' WHERE id = %s", waits[1])
    assert await answer(story, intime, waits[0], choice="approve") == TAKEN
    assert (await answer(story, late, waits[1], choice="approve")).why is Reason.TOO_LATE


async def test_of_many_answers_at_once_one_counts(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    wait = await story.ask(task)
    verdicts = await asyncio.gather(
        *[answer(story, task, wait, choice="approve", by=f"user-{n}") for n in range(10)]
    )
    taken = [n for n, verdict in enumerate(verdicts) if verdict.accepted]
    assert len(taken) == 1
    assert {verdict.why for verdict in verdicts} == {None, Reason.ALREADY_ANSWERED}
    (event,) = await reply_events(story, alice)
    assert event[3]["by"] == f"user-{taken[0]}"


async def test_the_same_reply_at_once_is_one_reply(story: Story) -> None:
    alice = await story.session()
    task = await story.task(alice)
    wait = await story.ask(task)
    verdicts = await asyncio.gather(
        *[answer(story, task, wait, uid="r1", choice="approve") for _ in range(10)]
    )
    assert set(verdicts) == {TAKEN}
    assert len(await reply_events(story, alice)) == 1


async def test_either_the_answer_counts_or_the_default(story: Story) -> None:
    # Both come while the deadline strikes
    for n in range(12):
        task = await story.task()
        wait = await story.ask(task, patience=timedelta(milliseconds=n))
        verdict, expired = await asyncio.gather(
            answer(story, task, wait, choice="approve"), expire(story, wait, "reject")
        )
        if not verdict.accepted and not expired:
            assert await expire(story, wait, "reject"), (
                "the answer was too late, so the default counts by now"
            )
        output = (await story.outputs(task))["confirm"]
        assert isinstance(output, dict)
        assert output["choice"] == ("approve" if verdict.accepted else "reject")
        assert verdict.why in {None, Reason.TOO_LATE}


async def test_either_the_answer_counts_or_the_cancel_came_first(story: Story) -> None:
    alice = await story.session()
    for _ in range(8):
        task = await story.task(alice)
        wait = await story.ask(task)
        before = len(await reply_events(story, alice))
        verdict, ended = await asyncio.gather(
            answer(story, task, wait, choice="approve"), story.end(task, "Cancelled")
        )
        assert ended
        assert verdict.why in {None, Reason.NOT_WAITING}
        assert (await story.step(task, "confirm")).state == ("Succeeded" if verdict.accepted else "Entered")
        assert len(await reply_events(story, alice)) - before == int(verdict.accepted)
    assert [event[0] for event in await story.events(alice)] == [
        *range(1, len(await story.events(alice)) + 1)
    ]


async def test_answers_and_turns_of_one_session_leave_no_gap(story: Story) -> None:
    # Given a session in which somebody is asked while others talk
    alice = await story.session()
    asking = [await story.task(alice) for _ in range(6)]
    waits = [await story.ask(task) for task in asking]

    async def talk() -> None:
        for n in range(6):
            await story.converse(alice, f"question {n}", f"answer {n}")

    # When it all comes at once
    await asyncio.gather(
        talk(),
        *[answer(story, task, wait, choice="approve") for task, wait in zip(asking, waits, strict=True)],
    )

    # Then the conversation is whole, and what people answered elsewhere is no part of what the model is shown
    assert [event[0] for event in await story.events(alice)] == [*range(1, 19)]
    taken = await story.converse(alice, "And now?", "Done")
    assert {event.type for event in taken.history} == {"message"}
    async with story.conn() as conn:
        assert await turns.session_turns(conn, alice) == []


async def test_a_session_that_waits_holds_no_turn(story: Story) -> None:
    alice = await story.session()
    task, other = await story.task(alice), await story.task(alice)
    await story.ask(task)
    await story.queue(alice, other)
    attempt = await story.start(other, session_uid=alice)
    await story.take(other)
    await story.finish(attempt, says("not in the way"))
