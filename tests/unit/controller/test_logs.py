"""The end of a container's log is of use, not of need."""

from dataclasses import replace

import pytest
from parley.controller.context import Context
from parley.controller.logs import end_of_log
from parley.kube.errors import Forbidden, KubeError, KubeUnavailable

from tests.fake_kube import FakeKube
from tests.unit.controller.contexts import storeless
from tests.unit.controller.objects import NAMESPACE


def logging(limit: int = 100) -> tuple[FakeKube, Context]:
    kube = FakeKube()
    kube.logs[NAMESPACE, "pod-1", "step"] = "x" * 1000 + "the end"
    context = storeless(kube)
    context.settings = replace(context.settings, log_bytes=limit)
    return kube, context


async def test_the_end_is_kept() -> None:
    _, context = logging()

    kept = await end_of_log(context, NAMESPACE, "pod-1")

    assert kept is not None
    assert (len(kept), kept[-7:]) == (100, "the end")


async def test_there_may_be_none() -> None:
    _, context = logging()

    assert await end_of_log(context, NAMESPACE, "pod-2") is None


async def test_with_a_limit_of_nothing_nobody_asks() -> None:
    kube, context = logging(0)

    assert await end_of_log(context, NAMESPACE, "pod-1") is None
    assert kube.requests == []


@pytest.mark.parametrize(
    "error", [KubeUnavailable(0, "Timeout", "no answer"), Forbidden(403, "Forbidden", "not yours")]
)
async def test_what_keeps_the_log_away_keeps_no_step_from_its_end(error: KubeError) -> None:
    kube, context = logging()
    kube.fail(error)

    assert await end_of_log(context, NAMESPACE, "pod-1") is None
