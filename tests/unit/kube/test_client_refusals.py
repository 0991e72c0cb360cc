"""What the live client makes of refusals, of silence, and of a configuration that is none."""

from pathlib import Path

import pytest
import yaml
from aiohttp import web
from parley.kube import transport
from parley.kube.client_live import KubeConfigError, LiveKube
from parley.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KubeError,
    KubeUnavailable,
    NotFound,
    TooLarge,
)
from parley.kube.kinds import JOB, TASK

from tests.unit.kube.api_over_http import ApiServer, kube, server

__all__ = ["kube", "server"]


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (413, "RequestEntityTooLarge", TooLarge),
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", KubeError),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "AlreadyExists", AlreadyExists),
        (409, "Conflict", Conflict),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", KubeUnavailable),
        (500, "InternalError", KubeUnavailable),
        (503, "ServiceUnavailable", KubeUnavailable),
    ],
)
async def test_refusals_become_errors(
    server: ApiServer, kube: LiveKube, status: int, reason: str, error: type[KubeError]
) -> None:
    server.refuse(status, reason, "quota exceeded", Retry_After="3")
    with pytest.raises(error) as caught:
        await kube.create(JOB, "shop", {"metadata": {"name": "j"}})
    assert type(caught.value) is error
    assert (caught.value.status, caught.value.reason, caught.value.message) == (
        status,
        reason,
        "quota exceeded",
    )
    if isinstance(caught.value, KubeUnavailable):
        assert caught.value.retry_after == 3.0


@pytest.mark.parametrize(
    "message",
    [
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2200000 vs. 2097152)",
    ],
)
async def test_what_etcd_will_never_take_is_not_sent_again(
    server: ApiServer, kube: LiveKube, message: str
) -> None:
    server.refuse(500, "InternalError", message)
    with pytest.raises(TooLarge, match=r"too large|larger than max"):
        await kube.create(JOB, "shop", {"metadata": {"name": "j"}})


async def test_an_answer_that_is_no_json_is_unavailable(server: ApiServer, kube: LiveKube) -> None:
    server.answers.append(web.Response(text="<html>Sign in</html>", content_type="text/html"))
    with pytest.raises(KubeUnavailable, match="no JSON object"):
        await kube.get(TASK, "shop", "refund")


async def test_a_silent_server_is_unavailable(
    server: ApiServer, kube: LiveKube, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "REQUEST_TIMEOUT", 0.05)
    server.released.clear()
    with pytest.raises(KubeUnavailable, match="did not answer GET"):
        await kube.get(TASK, "shop", "refund")
    server.released.set()


async def test_no_server_is_unavailable(server: ApiServer, kube: LiveKube, tmp_path: Path) -> None:
    del server
    await kube.close()
    config = yaml.safe_load((tmp_path / "kubeconfig").read_text())
    config["clusters"][0]["cluster"]["server"] = "http://127.0.0.1:1"
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    async with await LiveKube.open() as client:
        with pytest.raises(KubeUnavailable, match="cannot reach the API server"):
            await client.get(TASK, "shop", "refund")


@pytest.mark.parametrize("content", [None, "", "not: [yaml", "clusters: []\n"])
async def test_no_usable_configuration_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = tmp_path / "kubeconfig"
    if content is not None:
        path.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(KubeConfigError, match="KUBECONFIG"):
        await LiveKube.open()


@pytest.mark.parametrize("name", ["..", "a/b", "A", "", "a?x=1"])
def test_a_name_cannot_reach_another_path(name: str) -> None:
    if name:
        with pytest.raises(ValueError, match="cannot be the name"):
            TASK.path("shop", name)
    with pytest.raises(ValueError, match="needs a namespace"):
        TASK.path(None, "refund")
