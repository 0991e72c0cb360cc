"""What can be wrong in a Session."""

from collections.abc import Iterator
from typing import cast

from pydantic import JsonValue

from parley.resources.problems import Problem, free_value_problems
from parley.resources.session import ONE_OF_AGENTS, USER_OR_USERS, SessionSpec


def session_problems(spec: SessionSpec) -> Iterator[Problem]:
    """What is wrong in a Session's spec, in the order of its fields."""
    # Much of it is a CEL rule too; but an object may be older than the rule.
    if (spec.agent_ref is None) == (spec.agents is None):
        yield Problem("spec", ONE_OF_AGENTS)
    yield from _repeated([ref.name for ref in spec.agents or ()], "spec.agents", "name", "agent")
    if spec.user is not None and spec.users is not None:
        yield Problem("spec.users", USER_OR_USERS)
    yield from _repeated([person.id for person in spec.users or ()], "spec.users", "id", "user")
    yield from free_value_problems(spec.context, "spec.context")
    yield from free_value_problems(cast("JsonValue", spec.metadata), "spec.metadata")


def _repeated(names: list[str], path: str, key: str, what: str) -> Iterator[Problem]:
    for index, name in enumerate(names):
        if name in names[:index]:
            yield Problem(f"{path}[{index}].{key}", f"{what} {name} is there twice")
