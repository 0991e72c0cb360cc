"""Tokens of pages in the hands of who sees some of a list only: nothing of others' can be read from them."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any, cast

import pytest
from parley.kube.client import JsonObject
from parley.store.pool import Pool

from tests.fake_kube import FakeKube
from tests.integration.gateway.people import (
    EVERYTHING,
    OWN,
    Desk,
    add_task,
    open_desk,
    problem,
    waiting_task,
)
from tests.integration.store.story import Story


@pytest.fixture
def named_tokens(kube: FakeKube, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the API server's tokens name the object that a chunk ended with, as those of a real one do."""
    plain = kube.page

    async def page(kind: Any, *, token: str = "", **options: Any) -> tuple[Sequence[JsonObject], str]:
        position = str(json.loads(base64.b64decode(token))["at"]) if token else ""
        items, following = await plain(kind, token=position, **options)
        if not following:
            return items, ""
        last = cast("dict[str, Any]", items[-1]["metadata"])["name"]
        return items, base64.b64encode(json.dumps({"start": last, "at": following}).encode()).decode()

    monkeypatch.setattr(kube, "page", page)


def decoded(token: str) -> str:
    """All that somebody who tries finds in a token."""
    found = token
    for _ in range(3):
        for run in re.findall(r"[A-Za-z0-9_+/-]{16,}", found):
            plain = run.replace("-", "+").replace("_", "/")
            try:
                found += base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("latin-1")
            except ValueError:
                continue
    return found


async def his_and_hers(desk: Desk) -> None:
    """Chunks of 200 objects end at his."""
    for number in range(199):
        await desk.session(f"his-{number:03}", registered=False, spec={"user": {"id": "bob"}})
    await desk.session("his-secret", registered=False, spec={"user": {"id": "bob"}})
    for name in ("mine-1", "mine-2"):
        await desk.session(name, registered=False, spec={"user": {"id": "alice"}})
    await desk.session("his-also", registered=False, spec={"user": {"id": "bob"}})
    await desk.session("mine-3", registered=False, spec={"user": {"id": "alice"}})


@pytest.mark.usefixtures("named_tokens")
@pytest.mark.parametrize("acting", [False, True])
async def test_a_token_of_ones_own_sessions_tells_nothing_of_others(desk: Desk, acting: bool) -> None:
    # Given a namespace in which most Sessions are another's, who reads it page by page
    token, headers = desk.person("alice", *OWN), {}
    if acting:
        token = desk.person("backend", *EVERYTHING, "act-for users/alice")
        headers = {"Parley-User": "alice"}
    await his_and_hers(desk)

    names: list[str] = []
    tokens: list[str] = []
    query = ""
    while True:
        answer = await desk.ask(token, "GET", f"/sessions?limit=1{query}", headers=headers)
        assert answer.status_code == 200, answer.text
        names += [one["metadata"]["name"] for one in answer.json()["items"]]
        if "nextPageToken" not in answer.json():
            break
        tokens.append(answer.json()["nextPageToken"])
        query = f"&pageToken={tokens[-1]}"

    # Then she has all of hers, and her tokens name none of his, nor where hers stand among them
    assert names == ["mine-1", "mine-2", "mine-3"]
    assert len(tokens) >= 2
    for one in tokens:
        assert "his" not in decoded(one), decoded(one)
        assert "skip" not in decoded(one), decoded(one)


@pytest.mark.usefixtures("named_tokens")
async def test_a_token_of_what_waits_for_one_tells_nothing_of_others(desk: Desk) -> None:
    alice = desk.person("alice", *OWN)
    await desk.session("hers", spec={"user": {"id": "alice"}})
    await desk.session("his", spec={"user": {"id": "bob"}})
    for number in range(250):
        await add_task(desk, waiting_task(f"his-{number:03}", "his", "His?"))
    await add_task(desk, waiting_task("mine", "hers", "Hers?"))

    seen: list[str] = []
    query = ""
    while True:
        answer = (await desk.ask(alice, "GET", f"/waiting?limit=100{query}")).json()
        seen += [one["task"] for one in answer["items"]]
        if "nextPageToken" not in answer:
            break
        assert "his" not in decoded(answer["nextPageToken"])
        query = f"&pageToken={answer['nextPageToken']}"
    assert seen == ["mine"]


async def test_pages_of_what_waits_for_one_do_not_count_what_waits_for_others(desk: Desk) -> None:
    # Given two questions for her among another's
    alice = desk.person("alice", *OWN)
    await desk.session("hers", spec={"user": {"id": "alice"}})
    await desk.session("his", spec={"user": {"id": "bob"}})
    for name, session in (("a", "his"), ("b", "hers"), ("c", "his"), ("d", "hers"), ("e", "his")):
        await add_task(desk, waiting_task(name, session, "Well?"))
    # When she reads one by one, then no page shows by its emptiness that his are there
    first = (await desk.ask(alice, "GET", "/waiting?limit=1")).json()
    second = (await desk.ask(alice, "GET", f"/waiting?limit=1&pageToken={first['nextPageToken']}")).json()
    assert [[one["task"] for one in page["items"]] for page in (first, second)] == [["b"], ["d"]]
    assert "nextPageToken" not in second


async def test_such_a_token_is_good_at_every_gateway_for_its_own_list_and_caller(
    desk: Desk, pool: Pool, kube: FakeKube, story: Story
) -> None:
    alice, carl = desk.person("alice", *OWN), desk.person("carl", *OWN)
    for name in ("a", "b"):
        await desk.session(name, registered=False, spec={"users": [{"id": "alice"}, {"id": "carl"}]})
    first = (await desk.ask(alice, "GET", "/sessions?limit=1")).json()["nextPageToken"]

    # Another gateway goes on with it
    async with open_desk(pool, kube, story) as other:
        other.rights = desk.rights
        answer = await other.ask(alice, "GET", f"/sessions?limit=1&pageToken={first}")
        assert [one["metadata"]["name"] for one in answer.json()["items"]] == ["b"], answer.text

    # and nobody with another list, another's, or a made up one
    for token, query in (
        (alice, f"state=Ended&pageToken={first}"),
        (carl, f"pageToken={first}"),
        (alice, f"pageToken={'A' * 32}"),
        (alice, "pageToken=eyJhZnRlciI6IiIsInNraXAiOjAsImZpbHRlcnMiOiIifQ"),
        (alice, "pageToken=%00"),
    ):
        answer = await desk.ask(token, "GET", f"/sessions?limit=1&{query}")
        assert problem(answer) == (400, "InvalidPageToken", "pageToken"), query


async def test_such_a_token_is_good_for_a_quarter_of_an_hour(desk: Desk, story: Story) -> None:
    alice = desk.person("alice", *OWN)
    for name in ("a", "b"):
        await desk.session(name, registered=False, spec={"user": {"id": "alice"}})
    token = (await desk.ask(alice, "GET", "/sessions?limit=1")).json()["nextPageToken"]
    path = f"/sessions?limit=1&pageToken={token}"

    # Given a caller who takes their time, then the token is good again and again
    await story.sql("UPDATE idempotency SET at = at - interval '14 min'")
    assert (await desk.ask(alice, "GET", path)).status_code == 200
    assert (await desk.ask(alice, "GET", path)).status_code == 200
    # and once they took too long, they are told to begin again
    await story.sql("UPDATE idempotency SET at = at - interval '2 min'")
    answer = await desk.ask(alice, "GET", path)
    assert problem(answer) == (400, "InvalidPageToken", "pageToken")
    assert "begin again without pageToken" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/sessions", "/waiting"])
async def test_a_position_that_the_api_server_does_not_know_is_a_bad_token(desk: Desk, path: str) -> None:
    # Given a token whose filters are right, and whose position somebody has changed
    ann = desk.person("ann", *EVERYTHING)
    for name in ("one", "two"):
        await desk.session(name)
        await add_task(desk, waiting_task(f"t-{name}", name, "Refund?"))
    token = (await desk.ask(ann, "GET", f"{path}?limit=1")).json()["nextPageToken"]
    position = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    forged = base64.urlsafe_b64encode(json.dumps({**position, "after": "x"}).encode()).decode().rstrip("=")

    refused = await desk.ask(ann, "GET", f"{path}?limit=1&pageToken={forged}")

    assert (problem(refused)[0], problem(refused)[2]) == (400, "pageToken"), refused.text
