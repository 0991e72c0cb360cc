"""An agent changes while its turn waits: what people have decided on its calls stands."""

from typing import Any

import pytest
from parley.store.errors import NotAllowed
from pydantic import JsonValue

from tests.integration.store import calling
from tests.integration.store.calling import begin, pause, reply, result, turn
from tests.integration.store.story import Story


def without_approval(story: Story, task: str) -> dict[str, Any]:
    request = calling.request_of(story, task)
    tools = [{**tool, "approval": "Never"} for tool in request["agent"]["tools"]]
    tools = [
        {name: value for name, value in tool.items() if not name.lower().endswith("approvaltimeout")}
        for tool in tools
    ]
    return request | {"agent": request["agent"] | {"tools": tools}}


async def test_a_rejected_call_stays_rejected_when_its_tool_needs_no_approval_any_more(story: Story) -> None:
    # Given calls that a person has rejected
    task, attempt = await turn(story, None, "scrap", "audit")
    scrap, audit = await pause(story, attempt, (0, "Approval"), (1, "Approval"))
    for wait in (scrap, audit):
        assert (await reply(story, task, wait, "reject")).accepted
    # When the agent is changed before the turn goes on
    attempt = await story.start(task, number=2, cause="Resume", request=without_approval(story, task))
    await story.take(task, number=2, holder="pod/2")
    # Then nothing of them runs all the same
    with pytest.raises(NotAllowed):
        await begin(story, attempt, 0, holder="pod/2")
    with pytest.raises(NotAllowed):
        await result(story, attempt, "scrapped", 0, holder="pod/2")
    with pytest.raises(NotAllowed):
        await pause(story, attempt, (1, "Container"), holder="pod/2")
    told: JsonValue = {"error": "rejected by ann"}
    assert (await result(story, attempt, told, 0, holder="pod/2")).stored == told
