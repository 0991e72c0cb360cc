"""A TaskTemplate says whether Tasks can use it."""

from typing import Any, cast

import pytest
from parley.controller.sights import Sights
from parley.controller.template_reconciler import TaskTemplateReconciler
from parley.kube.kinds import TASK_TEMPLATE

from tests.fake_kube import FakeKube
from tests.kstatus import kstatus
from tests.status_schema import status_problems
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE, body

GOOD = {"steps": [{"name": "only", "container": {"image": "i", "args": ["{{ inputs.order }}"]}}]}
SCHEMA = {"type": "object", "properties": {"order": {"type": "string"}}, "required": ["order"]}


async def status_of(kube: FakeKube, **spec: Any) -> dict[str, Any]:
    made = body("refund", **spec)
    kube.objects["TaskTemplate", NAMESPACE, "refund"] = made
    kube._stored("ADDED", TASK_TEMPLATE, made)
    context = storeless(kube)
    Sights(context).see(TASK_TEMPLATE, made, False)
    reconciler = TaskTemplateReconciler(context)
    await reconciler.reconcile(NAMESPACE, "refund")
    await reconciler.reconcile(NAMESPACE, "refund")
    return cast("dict[str, Any]", kube.objects["TaskTemplate", NAMESPACE, "refund"])


async def test_a_sound_template_is_ready_and_said_so_once() -> None:
    kube = FakeKube()

    template = await status_of(kube, task=GOOD, inputSchema=SCHEMA)

    assert kstatus(template).status == "Current"
    assert not status_problems("tasktemplates", template["status"])
    assert [request.verb for request in kube.requests] == ["patch"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"task": GOOD, "inputSchema": {"type": "strin"}}, "spec.inputSchema.type"),
        ({"task": {"steps": [{"name": "a"}]}}, "spec.task.steps[0]"),
        (
            {"task": {"steps": [{"name": "a", "container": {"image": "i", "args": ["{{ nowhere.x }}"]}}]}},
            "spec.task.steps[0].container.args[0]",
        ),
        ({"task": "text"}, "spec.task"),
    ],
)
async def test_what_is_wrong_is_named(spec: dict[str, Any], says: str) -> None:
    template = await status_of(FakeKube(), **spec)

    assert kstatus(template).status == "Failed"
    (stalled,) = (c for c in template["status"]["conditions"] if c["type"] == "Stalled")
    assert stalled["reason"] == "InvalidSpec"
    assert stalled["message"].startswith(says), stalled["message"]
    assert not status_problems("tasktemplates", template["status"])
