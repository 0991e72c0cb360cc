"""A call that needs approval runs when a person says so, or nobody does in time and that is the rule; never else."""

import pytest
from parley.resources.reasons import Reason
from parley.store.errors import NotAllowed, Stopped

from tests.integration.store import calling
from tests.integration.store.calling import begin, expire, pause, reply, result, resume, said, turn, wait_of
from tests.integration.store.story import Story


async def test_a_call_runs_once_it_is_approved(story: Story) -> None:
    alice = await story.session()
    task, attempt = await turn(story, alice, "refund")
    # Given a runner that would rather run it at once
    with pytest.raises(NotAllowed, match="Nobody has approved call 0 of round 0, of refund"):
        await begin(story, attempt)
    with pytest.raises(NotAllowed):
        await result(story, attempt, "done already")
    # When it waits instead
    (wait,) = await pause(story, attempt, (0, "Approval"), events=[calling.call_event("refund")])
    asked = await wait_of(story, task, wait)
    assert asked.body == {
        "tool": "refund", "arguments": {"nth": 0}, "question": "May support call refund?",
        "choices": ["approve", "reject"], "onTimeout": "Reject",
    }, "as the model asked, whatever the runner says"  # fmt: skip
    assert asked.deadline is None
    # And a person approves
    verdict = await reply(story, task, wait, "approve", message="go ahead")
    assert verdict.accepted
    # Then the next attempt hears of it and runs it
    attempt = await story.start(
        task, number=2, cause="Resume", session_uid=alice, request=calling.request_of(story, task)
    )
    taken = await story.take(task, number=2, holder="pod/2")
    decided = [(r.round, r.call, r.choice, r.by, r.message) for r in taken.replies]
    assert decided == [(0, 0, "approve", "ann", "go ahead")]
    await begin(story, attempt, holder="pod/2")
    assert (await result(story, attempt, "refunded", holder="pod/2")).stored == "refunded"
    assert await said(story, alice, "reply") == [
        {
            "question": "May support call refund?", "tool": "refund", "id": "reply/-1/0/0", "choice": "approve", "by": "ann",
            "message": "go ahead",
        }
    ]  # fmt: skip


async def test_a_rejected_call_never_runs(story: Story) -> None:
    task, attempt = await turn(story, None, "refund")
    (wait,) = await pause(story, attempt, (0, "Approval"))
    assert (await reply(story, task, wait, "reject", message="too much")).accepted
    attempt = await resume(story, task)
    with pytest.raises(NotAllowed, match="was rejected"):
        await begin(story, attempt, holder="pod/2")
    with pytest.raises(NotAllowed, match="was rejected"):
        await pause(story, attempt, (0, "Approval"), holder="pod/2")
    told = {"error": "rejected by ann: too much"}
    assert (await result(story, attempt, told, holder="pod/2")).stored == told


@pytest.mark.parametrize(("tool", "choice"), [("ship", "approve"), ("scrap", "reject")])
async def test_nobody_decides_by_the_tools_default(story: Story, tool: str, choice: str) -> None:
    alice = await story.session()
    task, attempt = await turn(story, alice, tool)
    (wait,) = await pause(story, attempt, (0, "Approval"))
    assert calling.due(await wait_of(story, task, wait)) == 3600
    assert not await expire(story, wait, overdue=False)
    assert await expire(story, wait)
    assert not await expire(story, wait), "once"
    verdict = await reply(story, task, wait, "approve")
    assert (verdict.accepted, verdict.why) == (False, Reason.TOO_LATE)

    (told,) = await said(story, alice, "reply")
    assert (told["choice"], told["by"], told["tool"]) == (choice, None, tool)
    attempt = await story.start(
        task, number=2, cause="Resume", session_uid=alice, request=calling.request_of(story, task)
    )
    (decided,) = (await story.take(task, number=2, holder="pod/2")).replies
    assert (decided.choice, decided.by) == (choice, None)
    assert (decided.message or "").startswith("nobody answered by 20")
    if choice == "approve":
        await begin(story, attempt, holder="pod/2")
    else:
        with pytest.raises(NotAllowed):
            await begin(story, attempt, holder="pod/2")


async def test_each_call_has_its_own_decision(story: Story) -> None:
    task, attempt = await turn(story, None, "refund", "get_order", "refund")
    await begin(story, attempt, 1)
    await result(story, attempt, {"state": "lost"}, 1)
    first, second = await pause(story, attempt, (0, "Approval"), (2, "Approval"))
    assert (await reply(story, task, first, "approve")).accepted
    assert (await reply(story, task, second, "reject")).accepted
    attempt = await resume(story, task)
    await begin(story, attempt, 0, holder="pod/2")
    with pytest.raises(NotAllowed):
        await begin(story, attempt, 2, holder="pod/2")


async def test_an_approval_is_for_one_call_of_one_round(story: Story) -> None:
    task, attempt = await turn(story, None, "refund")
    (wait,) = await pause(story, attempt, (0, "Approval"))
    assert (await reply(story, task, wait, "approve")).accepted
    attempt = await resume(story, task)
    await begin(story, attempt, holder="pod/2")
    await result(story, attempt, "ok", holder="pod/2")
    await story.respond(attempt, "refund", round_number=1, holder="pod/2")
    with pytest.raises(NotAllowed):
        await begin(story, attempt, holder="pod/2", round_number=1)
    (again,) = await pause(story, attempt, (0, "Approval"), holder="pod/2", round_number=1)
    assert again != wait


async def test_late_second_and_foreign_replies_are_refused(story: Story) -> None:
    task, attempt = await turn(story, None, "scrap", "refund")
    other, others_attempt = await turn(story, None, "refund")
    timed, open_ended = await pause(story, attempt, (0, "Approval"), (1, "Approval"))
    (others,) = await pause(story, others_attempt, (0, "Approval"))

    assert (await reply(story, other, timed, "approve")).why == Reason.NOT_WAITING, "another task's"
    await story.sql("UPDATE waits SET deadline = now() - interval '1 s' WHERE id = %s", timed)
    assert (await reply(story, task, timed, "approve")).why == Reason.TOO_LATE
    unknown = await reply(story, task, open_ended, "yes")
    assert (unknown.why, unknown.message) == (
        Reason.UNKNOWN_CHOICE,
        "spec.choice yes is unknown: it must be one of approve, reject",
    )
    first = await reply(story, task, open_ended, "reject", uid="r1")
    second = await reply(story, task, open_ended, "approve", uid="r2")
    assert first.accepted
    assert (second.why, second.message) == (Reason.ALREADY_ANSWERED, "ann has answered this already")
    assert await reply(story, task, open_ended, "reject", uid="r1") == first, (
        "the same reply, the same verdict"
    )
    await story.end(task, "Cancelled")
    assert (await reply(story, task, timed, "approve")).why == Reason.NOT_WAITING
    assert (await reply(story, other, others, "approve")).accepted


async def test_an_old_reply_says_nothing_about_a_new_run(story: Story) -> None:
    task, attempt = await turn(story, None, "refund")
    (wait,) = await pause(story, attempt, (0, "Approval"))
    again, attempt = await turn(story, None, "refund")
    story.names[again] = story.names[task]
    (new,) = await pause(story, attempt, (0, "Approval"))
    assert new != wait
    assert (await reply(story, again, wait, "approve")).why == Reason.NOT_WAITING
    attempt = await resume(story, again)
    with pytest.raises(NotAllowed):
        await begin(story, attempt, holder="pod/2")


async def test_a_suspended_tasks_approvals_stand_still(story: Story) -> None:
    task, attempt = await turn(story, None, "scrap")
    (wait,) = await pause(story, attempt, (0, "Approval"))
    await story.suspend(task)
    await story.sql("UPDATE waits SET deadline = now() - interval '1 s' WHERE id = %s", wait)
    assert not await expire(story, wait, overdue=False)


async def test_what_was_decided_is_decided_for_every_attempt(story: Story) -> None:
    task, attempt = await turn(story, None, "refund")
    (wait,) = await pause(story, attempt, (0, "Approval"))
    assert (await reply(story, task, wait, "approve")).accepted
    attempt = await resume(story, task)
    started = await begin(story, attempt, holder="pod/2")
    await story.start(
        task,
        number=3,
        cause="Disruption",
        close=story.close(attempt),
        request=calling.request_of(story, task),
    )
    taken = await story.take(task, number=3, holder="pod/3")
    assert len(taken.replies) == 1
    again = await begin(story, taken.attempt, holder="pod/3")
    assert again == started, "the same key, and what was begun first"
    with pytest.raises(Stopped):
        await result(story, attempt, "late", holder="pod/2")
