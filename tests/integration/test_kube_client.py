"""The live client, the Lease and Events against a real API server."""

import asyncio
import secrets
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from parley.kube import client_live
from parley.kube.client import JsonObject
from parley.kube.client_live import LiveKube
from parley.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, KubeError, NotFound
from parley.kube.events import Transition, post_event
from parley.kube.kinds import CONFIG_MAP, EVENT, JOB, LEASE, NAMESPACE, POD, Kind
from parley.kube.lease import LeaseElector

pytestmark = [pytest.mark.cluster, pytest.mark.storeless]

ROOT = Path(__file__).parents[2]
CRD = Kind(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
WAIT = 60.0


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    told = subprocess.run(
        [ROOT / "cluster/cluster", "kubeconfig"], capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


@pytest.fixture
async def kube(kubeconfig: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveKube]:
    monkeypatch.setenv("KUBECONFIG", kubeconfig)
    async with await LiveKube.open() as client:
        yield client


@pytest.fixture
async def namespace(kube: LiveKube) -> AsyncIterator[str]:
    name = f"kube-client-{secrets.token_hex(3)}"
    await kube.create(NAMESPACE, None, {"metadata": {"name": name}})
    yield name
    await kube.delete(NAMESPACE, None, name)


@pytest.fixture
def probe_kind() -> Kind:
    """A kind of the test's own, so that it meets no other run's."""
    return Kind(f"client-{secrets.token_hex(3)}.test.parley.dev", "v1", "probes", "Probe")


@pytest.fixture
async def probe(kube: LiveKube, namespace: str, probe_kind: Kind) -> AsyncIterator[JsonObject]:
    """A custom resource with a status like Parley's."""
    any_object = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    step = {"type": "object", "required": ["name"], "x-kubernetes-map-type": "atomic"}
    step["properties"] = {"name": {"type": "string"}, "phase": {"type": "string"}}
    status = {
        "type": "object",
        "default": {"observedGeneration": -1},
        "properties": {
            "observedGeneration": {"type": "integer"},
            "phase": {"type": "string"},
            "steps": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
                "items": step,
            },
        },
    }
    version = {
        "name": probe_kind.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {
            "openAPIV3Schema": {"type": "object", "properties": {"spec": any_object, "status": status}}
        },
    }
    names = {"plural": probe_kind.plural, "kind": probe_kind.kind}
    spec = {"group": probe_kind.group, "scope": "Namespaced", "names": names, "versions": [version]}
    body = {"metadata": {"name": f"{probe_kind.plural}.{probe_kind.group}"}, "spec": spec}
    await kube.create(CRD, None, cast("JsonObject", body))
    yield await created(kube, probe_kind, namespace, {"metadata": {"name": "p"}, "spec": {"n": 1}})
    await kube.delete(CRD, None, f"{probe_kind.plural}.{probe_kind.group}")


async def created(kube: LiveKube, kind: Kind, namespace: str, body: JsonObject) -> JsonObject:
    """Create as soon as a new kind is served or a new namespace has its service account."""
    last: KubeError | None = None
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        try:
            return await kube.create(kind, namespace, body)
        except (NotFound, Forbidden) as error:
            last = error
            await asyncio.sleep(0.2)
    pytest.fail(f"cannot create a {kind.kind}: {last}")


def metadata(body: JsonObject | None) -> dict[str, Any]:
    assert body is not None
    return cast("dict[str, Any]", body["metadata"])


def config_map(name: str, **labels: str) -> JsonObject:
    return {"metadata": {"name": name, "labels": {**labels}}, "data": {"key": "value"}}


async def test_objects_are_made_read_listed_replaced_and_deleted(
    kube: LiveKube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_live, "CHUNK_SIZE", 2)
    for number in range(5):
        await kube.create(CONFIG_MAP, namespace, config_map(f"m{number}", test="client"))
    await kube.create(CONFIG_MAP, namespace, config_map("other"))

    items, resource_version = await kube.list(CONFIG_MAP, namespace=namespace, labels={"test": "client"})
    assert sorted(metadata(item)["name"] for item in items) == ["m0", "m1", "m2", "m3", "m4"]
    assert int(resource_version) > 0
    everywhere, _ = await kube.list(CONFIG_MAP, labels={"test": "client"})
    assert len([item for item in everywhere if metadata(item)["namespace"] == namespace]) == 5

    with pytest.raises(AlreadyExists, match='configmaps "m0" already exists'):
        await kube.create(CONFIG_MAP, namespace, config_map("m0"))

    read = await kube.get(CONFIG_MAP, namespace, "m0")
    assert read is not None
    changed = await kube.replace(CONFIG_MAP, namespace, {**read, "data": {"key": "new"}})
    with pytest.raises(Conflict, match="the object has been modified"):
        await kube.replace(CONFIG_MAP, namespace, {**read, "data": {"key": "lost update"}})

    with pytest.raises(Conflict, match="UID"):
        await kube.delete(CONFIG_MAP, namespace, "m0", uid="00000000-0000-0000-0000-000000000000")
    assert await kube.delete(CONFIG_MAP, namespace, "m0", uid=metadata(changed)["uid"]) is True
    assert await kube.delete(CONFIG_MAP, namespace, "m0") is False
    assert await kube.get(CONFIG_MAP, namespace, "m0") is None
    with pytest.raises(NotFound):
        await kube.replace(CONFIG_MAP, namespace, changed)


async def test_refusals_say_what_is_wrong(kube: LiveKube, namespace: str) -> None:
    with pytest.raises(Invalid, match=r"spec\.template\.spec\.containers: Required value"):
        await kube.create(JOB, namespace, {"metadata": {"name": "j"}, "spec": {"template": {"spec": {}}}})
    with pytest.raises(Invalid, match="unknown field"):
        await kube.create(CONFIG_MAP, namespace, {**config_map("x"), "dta": {}})
    with pytest.raises(NotFound, match=r'namespaces "nowhere-at-all" not found'):
        await kube.create(CONFIG_MAP, "nowhere-at-all", config_map("x"))


async def test_a_namespace_that_goes_refuses_new_objects(kube: LiveKube, namespace: str) -> None:
    # given a namespace that cannot go yet, since a pod in it has a finalizer
    finalized = {"name": "held", "finalizers": ["client.test.parley.dev/held"]}
    held = await kube.create(CONFIG_MAP, namespace, {"metadata": cast("JsonObject", finalized)})
    await kube.delete(NAMESPACE, None, namespace)
    with pytest.raises(Forbidden, match="being terminated"):
        await kube.create(CONFIG_MAP, namespace, config_map("late"))
    held = cast("JsonObject", await kube.get(CONFIG_MAP, namespace, "held"))
    await kube.replace(CONFIG_MAP, namespace, {**held, "metadata": {**metadata(held), "finalizers": []}})


async def test_status_is_written_whole_and_only_on_the_object_it_is_about(
    kube: LiveKube, namespace: str, probe: JsonObject, probe_kind: Kind
) -> None:
    async def apply(status: JsonObject, version: str) -> JsonObject:
        return await kube.apply_status(probe_kind, namespace, "p", status, resource_version=version)

    # given an object that nobody has seen
    assert probe["status"] == {"observedGeneration": -1}
    first: JsonObject = {
        "observedGeneration": 1,
        "phase": "Running",
        "steps": [{"name": "a", "phase": "Running"}, {"name": "b"}],
    }
    # when its status is written, then what is said later replaces it, also where less is said
    written = await apply(first, metadata(probe)["resourceVersion"])
    assert written["status"] == first
    assert metadata(written)["generation"] == 1
    less: JsonObject = {"observedGeneration": 1, "steps": [{"name": "b", "phase": "Running"}]}
    rewritten = await apply(less, metadata(written)["resourceVersion"])
    assert rewritten["status"] == less
    # and writing the same again changes nothing
    again = await apply(less, metadata(rewritten)["resourceVersion"])
    assert metadata(again)["resourceVersion"] == metadata(rewritten)["resourceVersion"]
    # and a status computed from an older state is refused
    with pytest.raises(Conflict):
        await apply(first, metadata(probe)["resourceVersion"])
    with pytest.raises(Invalid, match=r"\.status\.other: field not declared in schema"):
        await apply({"other": 3}, metadata(rewritten)["resourceVersion"])
    with pytest.raises(Invalid, match=r"\.status\.phase: expected string"):
        await apply({"phase": 3}, metadata(rewritten)["resourceVersion"])
    # when the object is made again under its name, a status of the old one does not reach it
    await kube.delete(probe_kind, namespace, "p")
    with pytest.raises((NotFound, Conflict)):
        await apply(first, metadata(rewritten)["resourceVersion"])
    made_again = await kube.create(probe_kind, namespace, {"metadata": {"name": "p"}, "spec": {"n": 1}})
    with pytest.raises(Conflict):
        await apply(first, metadata(rewritten)["resourceVersion"])
    assert (await kube.get(probe_kind, namespace, "p") or {})["status"] == made_again["status"]


async def test_token_reviews_tell_pod_and_audience(kube: LiveKube, namespace: str) -> None:
    # given a pod (never scheduled) and tokens bound to it
    spec = {"nodeSelector": {"no": "such-node"}, "containers": [{"name": "c", "image": "none"}]}
    pod = await created(kube, POD, namespace, {"metadata": {"name": "p"}, "spec": cast("JsonObject", spec)})

    async def token(*arguments: str) -> str:
        kubectl = await asyncio.create_subprocess_exec(
            ROOT / "cluster/bin/kubectl", "create", "token", "default", "-n", namespace, *arguments, stdout=-1
        )
        output, _ = await kubectl.communicate()
        assert kubectl.returncode == 0
        return output.decode().strip()

    ours = await token("--audience", "parley", "--bound-object-kind", "Pod", "--bound-object-name", "p")
    # then ours tells whose it is
    identity = await kube.review_token(ours, ["parley"])
    assert identity.authenticated, identity
    assert (identity.namespace, identity.pod_name) == (namespace, "p")
    assert identity.pod_uid == metadata(pod)["uid"]
    # and another audience's, a changed one and none at all are refused
    api_token = await token()
    for bad in (api_token, ours[:-8] + "AAAAAAAA", "", "x"):
        assert not (await kube.review_token(bad, ["parley"])).authenticated
    # and once the pod is gone, the token is worth nothing
    await kube.delete(POD, namespace, "p", grace=0)
    end = time.monotonic() + WAIT
    while (identity := await kube.review_token(ours, ["parley"])).authenticated:
        assert time.monotonic() < end, identity
        await asyncio.sleep(0.5)


async def test_the_lease_passes_from_one_holder_to_the_next(kube: LiveKube, namespace: str) -> None:
    # given a leader and a standby
    started: dict[str, asyncio.Event] = {"a": asyncio.Event(), "b": asyncio.Event()}

    def candidate(name: str) -> tuple[LeaseElector, "asyncio.Task[None]"]:
        elector = LeaseElector(kube, namespace=namespace, identity=name)

        async def work() -> None:
            started[name].set()
            await asyncio.Event().wait()

        return elector, asyncio.create_task(elector.lead(work))

    first, first_life = candidate("a")
    async with asyncio.timeout(WAIT):
        await started["a"].wait()
    second, second_life = candidate("b")
    await asyncio.sleep(5)  # two renewals
    assert first.leading
    assert not started["b"].is_set()
    # when the leader stops, then the standby leads, without waiting for the Lease to run out
    first_life.cancel()
    await asyncio.gather(first_life, return_exceptions=True)
    released = await kube.get(LEASE, namespace, "parley-operator")
    assert released is not None
    async with asyncio.timeout(WAIT):
        await started["b"].wait()
    assert second.leading
    lease = cast("dict[str, Any]", await kube.get(LEASE, namespace, "parley-operator"))
    assert (lease["spec"]["holderIdentity"], lease["spec"]["leaseTransitions"]) == ("b", 1)
    assert not await first.still_holder()
    second_life.cancel()
    await asyncio.gather(second_life, return_exceptions=True)


async def test_a_transition_becomes_one_event(
    kube: LiveKube, namespace: str, probe: JsonObject, probe_kind: Kind
) -> None:
    transition = Transition(
        probe_kind, namespace, "p", metadata(probe)["uid"], "Warning", "ExitCode", "ü" * 2000, key="score/1"
    )
    await post_event(kube, transition, instance="test")
    await post_event(kube, transition, instance="test")
    items, _ = await kube.list(EVENT, namespace=namespace)
    found = [cast("dict[str, Any]", item) for item in items]
    mine = [item for item in found if item["regarding"].get("uid") == transition.uid]
    assert [(item["reason"], item["type"], item["reportingController"]) for item in mine] == [
        ("ExitCode", "Warning", "parley.dev/operator")
    ]


async def test_what_is_applied_is_laid_over_the_object_that_was_read(
    kube: LiveKube, namespace: str, probe_kind: Kind, probe: JsonObject
) -> None:
    # Given an object, and somebody who owns it
    owner = await kube.create(CONFIG_MAP, namespace, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": metadata(owner)["uid"]}
    body = cast("JsonObject", {"metadata": {"ownerReferences": [reference]}})
    read = {"uid": metadata(probe)["uid"], "resource_version": metadata(probe)["resourceVersion"]}

    # When that is applied
    applied = await kube.apply(probe_kind, namespace, "p", body, **read)

    # Then it stands beside the rest, and the spec is as it was: nobody's generation rises
    assert metadata(applied)["ownerReferences"] == [reference]
    assert applied["spec"] == {"n": 1}
    assert metadata(applied)["generation"] == metadata(probe)["generation"]
    # And what was read before cannot be written over any more
    with pytest.raises(Conflict):
        await kube.apply(probe_kind, namespace, "p", {"spec": {"n": 2}}, **read)


async def test_any_text_that_is_applied_is_read_back(kube: LiveKube, namespace: str) -> None:
    # Given what people and models write: emoji, other planes, what YAML has for line ends, controls, a byte order mark
    said = '😀 👩‍👩‍👧 𝄞 \U0010ffff é \x85 \u2028 \x7f \x9f \x1b \ufeff \ufffe \\ud83d " : # - {}'
    made = await kube.create(CONFIG_MAP, namespace, {"metadata": {"name": "said"}, "data": {"text": ""}})
    metadata = cast("JsonObject", made["metadata"])
    uid, version = str(metadata["uid"]), str(metadata["resourceVersion"])

    await kube.apply(
        CONFIG_MAP, namespace, "said", {"data": {"text": said}}, uid=uid, resource_version=version
    )

    found = await kube.get(CONFIG_MAP, namespace, "said")
    assert found is not None
    assert found["data"] == {"text": said}


async def test_nothing_is_made_by_applying(
    kube: LiveKube, namespace: str, probe_kind: Kind, probe: JsonObject
) -> None:
    """With the version alone it would be (1.37)."""
    read = {"uid": metadata(probe)["uid"], "resource_version": metadata(probe)["resourceVersion"]}
    await kube.delete(probe_kind, namespace, "p")

    with pytest.raises((Conflict, NotFound)):
        await kube.apply(probe_kind, namespace, "p", {"spec": {"n": 2}}, **read)

    assert await kube.get(probe_kind, namespace, "p") is None


async def test_an_object_that_changed_since_it_was_read_is_not_deleted(
    kube: LiveKube, namespace: str
) -> None:
    read = await created(kube, CONFIG_MAP, namespace, config_map("c"))
    changed = await kube.replace(CONFIG_MAP, namespace, {**read, "data": {"key": "another"}})
    uid, old, new = (metadata(read)["uid"], *(str(metadata(b)["resourceVersion"]) for b in (read, changed)))

    with pytest.raises(Conflict):
        await kube.delete(CONFIG_MAP, namespace, "c", uid=uid, resource_version=old)

    assert await kube.delete(CONFIG_MAP, namespace, "c", uid=uid, resource_version=new)


async def test_the_end_of_a_log_is_read(kube: LiveKube, namespace: str) -> None:
    # Given a pod that has written much
    # The container runtime may not have read all of a pipe whose writer ends at once.
    command = ["sh", "-c", "seq 1 50000; echo the end; sleep 3"]
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {"name": "step", "image": "parley:dev", "command": command, "securityContext": security}
    pod = {"metadata": {"name": "talker"}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    made = await created(kube, POD, namespace, cast("JsonObject", pod))
    end = time.monotonic() + WAIT
    while (body := await kube.get(POD, namespace, "talker")) is not None and cast("dict[str, Any]", body)[
        "status"
    ].get("phase") != "Succeeded":
        assert time.monotonic() < end, body["status"]
        await asyncio.sleep(0.2)

    log = await kube.read_log(namespace, "talker", "step", limit=1000)

    assert log is not None
    assert log.endswith("49999\n50000\nthe end\n")
    assert 900 < len(log) <= 1000
    assert await kube.read_log(namespace, "nobody", "step", limit=1000) is None
    assert metadata(made)["name"] == "talker"
