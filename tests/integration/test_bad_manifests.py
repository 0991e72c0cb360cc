"""Every bad manifest is answered with the field and the words its author needs, by who can know it first."""

import pytest

from tests.api_server import ApiServer, api_server, refusals
from tests.bad_manifests import BAD_MANIFESTS, REFUSED, STORED, BadManifest
from tests.operator_problems import MODELS, operator_problems

__all__ = ["api_server"]
pytestmark = [pytest.mark.cluster, pytest.mark.storeless]


def answers(bad: BadManifest, field: str, message: str) -> bool:
    """Whether a refusal says what the table wants of it."""
    named = field == bad.field or f'unknown field "{bad.field}"' in message
    return named and all(word in message for word in bad.words)


def test_the_table_is_large_and_says_each_thing_once() -> None:
    assert len(BAD_MANIFESTS) >= 150
    assert {bad.load()["kind"] for bad in BAD_MANIFESTS} == MODELS.keys()
    assert len({bad.what for bad in BAD_MANIFESTS}) == len(BAD_MANIFESTS)
    assert all(bad.field and bad.words for bad in BAD_MANIFESTS)


@pytest.mark.parametrize("bad", REFUSED, ids=str)
def test_the_api_server_refuses_it(api_server: ApiServer, bad: BadManifest) -> None:
    # Given what exists already
    first = bad.load_first()
    if first is not None:
        assert refusals(api_server.create(first)) == []
    # When the bad manifest is applied
    send = api_server.create if first is None else api_server.replace
    found = refusals(send(bad.load(), dry_run=True))
    # Then the answer names the field, what is wrong, and what to do
    assert any(answers(bad, field, message) for field, message in found), found


@pytest.mark.parametrize("bad", STORED, ids=str)
def test_the_api_server_lets_it_in_and_the_operator_finds_it(api_server: ApiServer, bad: BadManifest) -> None:
    # Given a manifest that the API server takes
    created = api_server.create(bad.load(), dry_run=True)
    assert refusals(created) == []
    # When the operator reads what was stored
    problems = operator_problems(created.json())
    # Then it finds this, and nothing else
    assert len(problems) == 1, problems
    assert answers(bad, problems[0].path, problems[0].message), str(problems[0])
