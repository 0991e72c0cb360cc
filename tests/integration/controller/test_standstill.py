"""Nothing stands still for ever: whatever goes missing, something ends or wakes what waits for it."""

from typing import Any

import pytest
from parley.engine.names import child_name
from parley.kube.kinds import POD, SCHEDULE, TASK, TASK_TEMPLATE

from tests.integration.controller.cluster import Cluster, Exit, is_prompt, Run

ONE = {"name": "work", "container": {"image": "i"}}


async def test_a_child_whose_template_never_comes_ends_with_its_attempt(cluster: Cluster) -> None:
    """Given a child that waits for its template, when its parent's step is over, then it ends too."""
    await cluster.task("parent", {"name": "ask", "task": {"templateRef": {"name": "none"}}, "timeout": "1s"})
    await cluster.until(lambda: cluster.status("parent")["phase"] == "Failed", "the step's timeout")
    (child,) = [name for name in cluster.tasks() if name != "parent"]

    await cluster.until(lambda: cluster.status(child)["phase"] == "Cancelled", f"the end of {child}")


async def test_a_step_is_repeated_although_its_child_waits_for_a_template(cluster: Cluster) -> None:
    retry = {"limit": 1, "causes": ["Timeout"], "backoff": {"initial": "1s"}}
    await cluster.task(
        "parent", {"name": "ask", "task": {"templateRef": {"name": "none"}}, "timeout": "1s", "retry": retry}
    )

    await cluster.until(lambda: cluster.status("parent")["phase"] == "Failed", "the end of both attempts")

    assert cluster.step("parent", "ask")["attempt"] == 2
