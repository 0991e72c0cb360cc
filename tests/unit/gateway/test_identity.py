"""Whose token it is: every link of the chain from token to Task must hold."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from parley.gateway.identity import POD_SECONDS, TOKEN_SECONDS, StepIdentities, StepPod, WarmPod
from parley.gateway.problems import NotAStep, NotAuthenticated
from parley.kube.client import TokenIdentity
from parley.kube.errors import Forbidden, KubeUnavailable

from tests.fake_kube import FakeKube
from tests.unit.gateway.steps import NAMESPACE, StepInCluster, add_step, add_warm, identity, metadata


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kube() -> FakeKube:
    return FakeKube()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identities(kube: FakeKube, clock: Clock) -> StepIdentities:
    return StepIdentities(kube, clock=clock)


async def test_a_running_steps_token_leads_to_its_job_and_task(
    kube: FakeKube, identities: StepIdentities
) -> None:
    step = await add_step(kube)

    found = await identities.identify(step.authorization)

    assert found == StepPod(NAMESPACE, step.pod, step.pod_uid, step.job, 0, "task-uid")


async def test_the_pod_of_a_runner_that_stays_is_known_by_its_job(
    kube: FakeKube, identities: StepIdentities
) -> None:
    staying, other = await add_step(kube, job="serve", stays=True), await add_step(kube, job="step")

    stays = [await identities.identify(step.authorization) for step in (staying, other)]
    assert [isinstance(pod, StepPod) and pod.stays for pod in stays] == [True, False]


async def test_an_indexed_jobs_pod_has_its_index(kube: FakeKube, identities: StepIdentities) -> None:
    step = await add_step(kube)
    metadata(kube, "Pod", step.pod)["annotations"] = {"batch.kubernetes.io/job-completion-index": "3"}

    found = await identities.identify(step.authorization)
    assert isinstance(found, StepPod)
    assert found.index == 3


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer  ", "Basic abc", "token-of-x", "Bearer \u00e9"]
)
async def test_without_a_bearer_token_nobody_is_asked(
    kube: FakeKube, identities: StepIdentities, header: str | None
) -> None:
    with pytest.raises(NotAuthenticated):
        await identities.identify(header)

    assert kube.requests == []


async def test_a_token_of_absurd_length_is_not_passed_on(kube: FakeKube, identities: StepIdentities) -> None:
    with pytest.raises(NotAuthenticated):
        await identities.identify("Bearer " + "x" * 20_000)

    assert kube.requests == []


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"authenticated": False}, NotAuthenticated, "does not know this token"),
        ({"audiences": ("https://kubernetes.default.svc",)}, NotAuthenticated, "token"),
        ({"extra": {}}, NotAStep, "not bound to a pod"),
        ({"username": "alice"}, NotAStep, "not bound to a pod"),
        ({"extra": {"authentication.kubernetes.io/pod-name": ("a", "b")}}, NotAStep, "not bound to a pod"),
    ],
)
async def test_a_token_that_is_no_pods(
    kube: FakeKube, identities: StepIdentities, changes: dict[str, Any], error: type[Exception], words: str
) -> None:
    step = await add_step(kube)
    kube.identities[step.token] = identity(step.pod, step.pod_uid, **changes)

    with pytest.raises(error, match=words):
        await identities.identify(step.authorization)


def gone(kube: FakeKube, step: StepInCluster) -> None:
    del kube.objects["Pod", NAMESPACE, step.pod]


def made_again(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Pod", step.pod)["uid"] = "another"


def ended(kube: FakeKube, step: StepInCluster) -> None:
    kube.objects["Pod", NAMESPACE, step.pod]["status"] = {"phase": "Failed"}


def orphaned(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Pod", step.pod)["ownerReferences"] = []


def not_controlled(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Pod", step.pod)["ownerReferences"][0]["controller"] = False


def of_a_replica_set(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Pod", step.pod)["ownerReferences"][0].update(apiVersion="apps/v1", kind="ReplicaSet")


def of_another_job_kind(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Pod", step.pod)["ownerReferences"][0].update(apiVersion="example.com/v1")


def job_gone(kube: FakeKube, step: StepInCluster) -> None:
    del kube.objects["Job", NAMESPACE, step.job]


def job_made_again(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Job", step.job)["uid"] = "another"


def job_of_nobody(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Job", step.job)["ownerReferences"] = []


def job_of_a_cron_job(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Job", step.job)["ownerReferences"][0].update(apiVersion="batch/v1", kind="CronJob")


def job_of_another_groups_task(kube: FakeKube, step: StepInCluster) -> None:
    metadata(kube, "Job", step.job)["ownerReferences"][0].update(apiVersion="tekton.dev/v1")


@pytest.mark.parametrize(
    "broken",
    [
        gone,
        made_again,
        ended,
        orphaned,
        not_controlled,
        of_a_replica_set,
        of_another_job_kind,
        job_gone,
        job_made_again,
        job_of_nobody,
        job_of_a_cron_job,
        job_of_another_groups_task,
    ],
    ids=lambda broken: broken.__name__,
)
async def test_each_broken_link_is_refused(
    kube: FakeKube, identities: StepIdentities, broken: Callable[[FakeKube, StepInCluster], None]
) -> None:
    step = await add_step(kube)
    broken(kube, step)

    with pytest.raises(NotAStep):
        await identities.identify(step.authorization)


@pytest.mark.parametrize("kind", ["TokenReview", "Pod", "Job"])
@pytest.mark.parametrize("error", [KubeUnavailable(503, "", "away"), Forbidden(403, "Forbidden", "no right")])
async def test_an_api_server_that_does_not_answer_is_no_refusal(
    kube: FakeKube, identities: StepIdentities, kind: str, error: Exception
) -> None:
    step = await add_step(kube)
    kube.fail(error, kind=kind)  # type: ignore[arg-type]

    with pytest.raises(type(error)):
        await identities.identify(step.authorization)
    assert (await identities.identify(step.authorization)).name == step.pod


async def test_a_steps_few_calls_ask_the_api_server_once(
    kube: FakeKube, identities: StepIdentities, clock: Clock
) -> None:
    step = await add_step(kube)
    kube.requests.clear()

    for _ in range(4):
        await identities.identify(step.authorization)
        clock.now += 1

    assert [request.kind for request in kube.requests] == ["TokenReview", "Pod", "Job"]


async def test_a_pod_that_has_ended_is_refused_within_seconds_and_a_token_within_a_minute(
    kube: FakeKube, identities: StepIdentities, clock: Clock
) -> None:
    step = await add_step(kube)
    await identities.identify(step.authorization)

    ended(kube, step)
    clock.now += POD_SECONDS
    with pytest.raises(NotAStep, match="has ended"):
        await identities.identify(step.authorization)

    del kube.identities[step.token]
    clock.now += TOKEN_SECONDS
    with pytest.raises(NotAuthenticated):
        await identities.identify(step.authorization)


async def test_a_refusal_is_not_remembered(kube: FakeKube, identities: StepIdentities) -> None:
    step = await add_step(kube)
    known = kube.identities.pop(step.token)
    with pytest.raises(NotAuthenticated):
        await identities.identify(step.authorization)

    kube.identities[step.token] = known

    assert (await identities.identify(step.authorization)).name == step.pod


async def test_two_pods_of_one_job_are_told_apart(kube: FakeKube, identities: StepIdentities) -> None:
    first, second = await add_step(kube), await add_step(kube)

    found = [await identities.identify(step.authorization) for step in (first, second, first)]

    assert [pod.uid for pod in found] == [first.pod_uid, second.pod_uid, first.pod_uid]
    assert {pod.job for pod in found} == {first.job}


async def test_a_token_for_another_audience_is_refused_also_if_the_api_server_lets_it_pass() -> None:
    class Careless(FakeKube):
        async def review_token(self, token: str, audiences: Sequence[str]) -> TokenIdentity:  # noqa: ARG002
            return self.identities[token]

    careless = Careless()
    step = await add_step(careless)
    careless.identities[step.token] = identity(
        step.pod, step.pod_uid, audiences=("https://kubernetes.default.svc",)
    )

    with pytest.raises(NotAuthenticated, match="not for the audience parley"):
        await StepIdentities(careless).identify(step.authorization)


async def test_the_pod_of_a_warm_runner_leads_to_its_agent_and_tells_its_pool(
    kube: FakeKube, identities: StepIdentities
) -> None:
    warm = await add_warm(kube, "warm-support-1")

    found = await identities.identify(warm.authorization)

    assert found == WarmPod(NAMESPACE, warm.pod, warm.pod_uid, "warm-support-1")
    asked = [request.kind for request in kube.requests if request.verb == "get"]
    assert asked == ["Pod", "ReplicaSet", "Deployment"]


async def test_the_pods_of_a_deployment_ask_for_its_owner_once(
    kube: FakeKube, identities: StepIdentities
) -> None:
    first, second = await add_warm(kube), await add_warm(kube)
    await identities.identify(first.authorization)
    kube.requests.clear()

    await identities.identify(second.authorization)

    assert [request.kind for request in kube.requests] == ["TokenReview", "Pod"]


async def test_a_warm_runner_ends_its_work_although_its_deployment_is_gone(
    kube: FakeKube, identities: StepIdentities, clock: Clock
) -> None:
    # Given a runner whose Agent was deleted, with the Deployment and the ReplicaSet, while it has work
    warm = await add_warm(kube)
    clock.now += 30
    found = await identities.identify(warm.authorization)
    deployment_gone(kube, warm)
    replica_set_gone(kube, warm)
    # When it goes on with it for as long as pods have to end, then it is still known
    for _ in range(20):
        clock.now += 60
        assert await identities.identify(warm.authorization) == found
    # But no longer than it runs
    metadata(kube, "Pod", warm.pod)["uid"] = "another"
    clock.now += POD_SECONDS
    with pytest.raises(NotAStep, match="gone"):
        await identities.identify(warm.authorization)


def without_a_pool(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "Pod", warm.pod)["labels"] = {}


def replica_set_gone(kube: FakeKube, warm: StepInCluster) -> None:
    del kube.objects["ReplicaSet", NAMESPACE, warm.job]


def replica_set_made_again(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "ReplicaSet", warm.job)["uid"] = "another"


def replica_set_of_nobody(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "ReplicaSet", warm.job)["ownerReferences"] = []


def deployment_gone(kube: FakeKube, warm: StepInCluster) -> None:
    del kube.objects["Deployment", NAMESPACE, warm.job]


def deployment_made_again(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "Deployment", warm.job)["uid"] = "another"


def deployment_of_a_user(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "Deployment", warm.job)["ownerReferences"] = []


def deployment_of_a_task(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "Deployment", warm.job)["ownerReferences"][0]["kind"] = "Task"


def deployment_of_another_groups_agent(kube: FakeKube, warm: StepInCluster) -> None:
    metadata(kube, "Deployment", warm.job)["ownerReferences"][0]["apiVersion"] = "other.dev/v1"


@pytest.mark.parametrize(
    "broken",
    [
        gone,
        made_again,
        ended,
        orphaned,
        without_a_pool,
        replica_set_gone,
        replica_set_made_again,
        replica_set_of_nobody,
        deployment_gone,
        deployment_made_again,
        deployment_of_a_user,
        deployment_of_a_task,
        deployment_of_another_groups_agent,
    ],
    ids=lambda broken: broken.__name__,
)
async def test_each_broken_link_to_an_agent_is_refused(
    kube: FakeKube, identities: StepIdentities, broken: Callable[[FakeKube, StepInCluster], None]
) -> None:
    warm = await add_warm(kube)
    broken(kube, warm)

    with pytest.raises(NotAStep):
        await identities.identify(warm.authorization)
