"""What is there when a sight comes: agents, sessions and tasks, and nothing queued."""

from typing import Any

from parley.controller.context import Context
from parley.controller.sights import Sights
from parley.kube.kinds import AGENT, SESSION, TASK

from tests.unit.controller.contexts import storeless, woken
from tests.unit.controller.objects import agent_body, session_body, task_body

SUCCEEDED = {"phase": "Succeeded", "observedGeneration": 1}
STORY = [
    (AGENT, agent_body()),
    (AGENT, agent_body("other")),
    (SESSION, session_body("alice")),
    (SESSION, session_body("bob", agent="other")),
    (TASK, task_body("alice-1", session="alice")),
    (TASK, task_body("alice-0", session="alice", status=SUCCEEDED)),
    (TASK, task_body("bob-1", session="bob")),
    (TASK, task_body("alone")),
    (TASK, task_body("alone-ended", status=SUCCEEDED)),
]


async def quiet() -> tuple[Context, Sights]:
    """Two agents with a session each, tasks in them and beside them; nothing queued."""
    context = storeless()
    sights = Sights(context)
    for kind, made in STORY:
        sights.see(kind, made, False)
    await woken(context)
    return context, sights


def newer(body: dict[str, Any]) -> dict[str, Any]:
    return body | {"metadata": body["metadata"] | {"resourceVersion": "100"}}
