"""Requests that mean harm, or come from broken clients: each gets its exact answer, and nothing of it comes back."""

import pytest

from tests.integration.gateway.hostile_requests import ALL, ANN, FIRST, Hostile, raw
from tests.integration.gateway.raw_http import send_raw


def test_there_are_a_hundred_of_them() -> None:
    assert len(ALL) >= 100
    assert len({one.what for one in ALL}) == len({one.request for one in ALL}) == len(ALL)


@pytest.mark.parametrize("hostile", ALL, ids=lambda one: one.what)
def test_a_hostile_request_gets_its_exact_answer(hostile: Hostile, people_gateway: str) -> None:
    answer = send_raw(people_gateway, hostile.request)

    said = answer.json if answer.headers.get("content-type") == "application/problem+json" else {}
    assert (answer.status, said.get("reason")) == (hostile.status, hostile.reason), answer
    if answer.status >= 400 and answer.headers.get("content-type") != "text/plain; charset=utf-8":
        assert said["status"] == answer.status
        assert said["detail"], said
        assert answer.headers["x-request-id"]
    # No word about the inside, and never the token.
    told = answer.body.decode() + "".join(answer.headers.values())
    assert ANN not in told
    assert "Traceback" not in told
    assert "psycopg" not in told


def test_the_gateway_serves_on_after_all_of_them(people_gateway: str) -> None:
    for hostile in ALL[:10]:
        send_raw(people_gateway, hostile.request)
    answer = send_raw(people_gateway, raw("GET", FIRST))
    assert (answer.status, answer.json["metadata"]["name"]) == (200, "first")
