"""Every bad manifest is answered with the field and the words its author needs, by who can know it first."""

import pytest
from parley.engine.cron import Cron, CronError
from parley.resources.agent import AgentSpec
from parley.resources.problems import Problem
from parley.resources.reply import ReplySpec
from parley.resources.schedule import ScheduleSpec
from parley.resources.session import SessionSpec
from parley.resources.task import TaskSpec
from parley.resources.task_template import TaskTemplateSpec
from parley.resources.validation import AnySpec, read_spec, spec_problems
from parley.templates.check import template_problems

from tests.api_server import ApiServer, api_server, refusals
from tests.bad_manifests import BAD_MANIFESTS, REFUSED, STORED, BadManifest

__all__ = ["api_server"]
pytestmark = pytest.mark.cluster

MODELS: dict[str, type[AnySpec]] = {
    "Agent": AgentSpec,
    "Session": SessionSpec,
    "Task": TaskSpec,
    "TaskTemplate": TaskTemplateSpec,
    "Schedule": ScheduleSpec,
    "Reply": ReplySpec,
}


def answers(bad: BadManifest, field: str, message: str) -> bool:
    """Whether a refusal says what the table wants of it."""
    named = field == bad.field or f'unknown field "{bad.field}"' in message
    return named and all(word in message for word in bad.words)


def cron_problems(spec: AnySpec) -> list[Problem]:
    """What is wrong in a Schedule's times, as its reconciler says it."""
    try:
        if isinstance(spec, ScheduleSpec):
            Cron(spec.schedule, spec.time_zone)
    except CronError as error:
        return [Problem(f"spec.{error.field}", str(error))]
    return []


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
    manifest = bad.load()
    created = api_server.create(manifest, dry_run=True)
    assert refusals(created) == []
    # When the operator reads what was stored
    read = read_spec(MODELS[manifest["kind"]], created.json()["spec"])
    problems = (
        read
        if isinstance(read, list)
        else [*spec_problems(read), *template_problems(read), *cron_problems(read)]
    )
    # Then it finds this, and nothing else
    assert len(problems) == 1, problems
    assert answers(bad, problems[0].path, problems[0].message), str(problems[0])
