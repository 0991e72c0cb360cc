"""The kept ends of logs at the gateway: of one's own Tasks' attempts, and of nobody else's."""

from typing import Any

from parley.kube.kinds import TASK
from parley.store import attempts

from tests.integration.gateway.people import EVERYTHING, NAMESPACE, OWN, Desk, add_task, problem, waiting_task


async def ended(desk: Desk, task: str, step: str, log: str | None) -> int:
    """An attempt whose container ended with this log; returns its id."""
    attempt = await desk.story.start(task, step)
    async with desk.story.conn() as conn:
        await attempts.close_attempt(
            conn, desk.story.fence, attempt, "Failed", "Error", "", end_turn=False, log=log
        )
    return attempt


async def test_the_end_of_a_log_is_for_who_may_see_the_task(desk: Desk) -> None:
    # Given a Task of Alice's Session that ended with a log and without one, and another's
    ann, alice = desk.person("ann", *EVERYTHING), desk.person("alice", *OWN)
    bob, reads = desk.person("bob", *OWN), desk.person("reads", "get sessions", "list sessions")
    for name, user in (("hers", "alice"), ("his", "bob")):
        await desk.session(name, spec={"user": {"id": user}})
    uids: dict[str, str] = {}
    for name, session in (("one", "hers"), ("two", "his")):
        task: Any = waiting_task(name, session)
        await add_task(desk, task)
        body: Any = desk.kube.objects[TASK.kind, NAMESPACE, name]
        uids[name] = body["metadata"]["uid"]
        desk.story.names[uids[name]] = name
        await desk.story.register(uids[name], None)
    said = await ended(desk, uids["one"], "pay", "card declined\nexit 1\n")
    silent = await ended(desk, uids["one"], "ship", None)
    foreign = await ended(desk, uids["two"], "pay", "secret of Bob")

    # When those who may see it ask, then they have what was kept
    for who in (ann, alice):
        answer = await desk.ask(who, "GET", f"/tasks/one/attempts/{said}/log")
        assert (answer.status_code, answer.json()) == (200, {"id": said, "log": "card declined\nexit 1\n"})
    assert (await desk.ask(ann, "GET", f"/tasks/one/attempts/{silent}/log")).json() == {"id": silent}

    # But not through another Task, and nobody else has it
    assert problem(await desk.ask(ann, "GET", f"/tasks/one/attempts/{foreign}/log"))[:2] == (404, "NotFound")
    assert problem(await desk.ask(ann, "GET", "/tasks/none/attempts/1/log"))[:2] == (404, "NotFound")
    assert problem(await desk.ask(bob, "GET", f"/tasks/one/attempts/{said}/log"))[:2] == (404, "NotFound")
    assert problem(await desk.ask(reads, "GET", f"/tasks/one/attempts/{said}/log"))[:2] == (403, "Forbidden")
    assert (await desk.ask(ann, "GET", "/tasks/one/attempts/zero/log")).status_code == 422
