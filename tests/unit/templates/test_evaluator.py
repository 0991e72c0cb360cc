"""The guarded evaluator: what hostile templates can do to it, and what they cannot."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from parley.templates.errors import TemplateError
from parley.templates.evaluator import Evaluator, EvaluatorUnavailableError
from parley.templates.fields import TextField, ValueField

SCOPE: dict[str, Any] = {"inputs": {"order": "12345", "list": [1, 2]}}

ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ''|attr(['__cla', 'ss__']|join) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ 'x'.join.__self__ }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '{0.__init__.__globals__}'.format(cycler) }}",
    "{{ '{a.__class__}'.format_map({'a': 1}) }}",
    "{{ ['{0.__class__}'.format][0](1) }}",
    "{{ [1]|map('attr', '__class__')|list }}",
    "{{ [1]|map(attribute='__class__')|list }}",
    "{{ [1]|groupby('__class__') }}",
    "{{ [1, 2]|sort(attribute='__class__') }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ namespace.__init__ }}",
    "{{ dict.mro() }}",
    "{{ range.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}",
    "{{ inputs.list.append(3) }}",
    "{{ inputs.update({'a': 1}) }}",
    "{{ inputs.__class__ }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os }}",
]
TOO_LONG = [
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% set _ = range(99999)|sum %}{% endfor %}",
    "{{ [[[0] * 999] * 999] * 999 }}",
    "{% set ns = namespace(n=3) %}{% for a in range(99) %}{% set ns.n = ns.n ** 9 %}{% endfor %}",
]
TOO_MUCH = [
    "{{ 'a' * 10**9 }}",
    "{{ 'a' * 10**11 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ 'a'|center(10**9) }}",
    "{{ 'a'.ljust(10**9)|length }}",
    "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
]
TOO_LARGE = [
    "{{ 'a' * (2 ** 20 + 1) }}",
    "{% for a in range(99999) %}{{ 'aaaaaaaaaaaaaaaaaaaa' }}{% endfor %}",
    "{{ ['a' * 1000] * 2000 }}",
]
TOO_DEEP = [
    "{% macro m(x) %}{{ m(x) }}{% endmacro %}{{ m(1) }}",
    "{{ " + "[" * 150 + "]" * 150 + " }}",
    "{{ 1" + " + 1" * 5000 + " }}",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Evaluator]:
    async with Evaluator() as evaluator:
        yield evaluator


pytestmark = pytest.mark.asyncio(loop_scope="module")


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def of_process(pid: int, *files: str) -> list[str]:
    return [Path(f"/proc/{pid}/{file}").read_text() for file in files]


async def refusal(evaluator: Evaluator, template: str) -> TemplateError:
    """What the evaluator says of a template, between two good ones."""
    fields = {"before": TextField("fine"), "spec.hostile": ValueField(template), "after": TextField("fine")}
    with pytest.raises(TemplateError) as caught:
        await evaluator.render(fields, SCOPE)
    # The evaluator goes on for others.
    assert await evaluator.render({"next": TextField("{{ inputs.order }}")}, SCOPE) == {"next": "12345"}
    return caught.value


async def test_fields_are_rendered_by_their_kind(shared: Evaluator) -> None:
    rendered = await shared.render(
        {
            "text": TextField("{{ inputs.list }}"),
            "value": ValueField("{{ inputs.list }}"),
            "deep": ValueField({"a": ["n={{ inputs.order }}"], "b": 1.5, "c": None}),
        },
        SCOPE,
    )
    assert rendered == {"text": "[1,2]", "value": [1, 2], "deep": {"a": ["n=12345"], "b": 1.5, "c": None}}
    assert await shared.render({}, SCOPE) == {}


@pytest.mark.parametrize("template", ESCAPES)
async def test_there_is_no_way_out_of_the_sandbox(shared: Evaluator, template: str) -> None:
    child = shared._child
    error = await refusal(shared, template)
    assert error.path == "spec.hostile"
    assert "unsafe" in error.message or "not defined" in error.message or "no loader" in error.message
    assert shared._child is child, "a mere error does not cost a process"


@pytest.mark.parametrize("template", TOO_LONG)
async def test_a_template_without_end_is_ended(shared: Evaluator, template: str) -> None:
    error = await refusal(shared, template)
    # Which of the two limits strikes first is the template's choice.
    assert (error.path, error.message) in {
        ("spec.hostile", "takes more than 1 s of CPU time"),
        ("spec.hostile", "needs more than 256 MiB of memory"),
    }


@pytest.mark.parametrize("template", TOO_MUCH)
async def test_a_template_that_wants_all_memory_gets_none(shared: Evaluator, template: str) -> None:
    error = await refusal(shared, template)
    assert (error.path, error.message) == ("spec.hostile", "needs more than 256 MiB of memory")


@pytest.mark.parametrize("template", TOO_LARGE)
async def test_a_result_is_at_most_a_mebibyte(shared: Evaluator, template: str) -> None:
    error = await refusal(shared, template)
    assert error.path == "spec.hostile"
    assert "larger than 1 MiB" in error.message


async def test_all_results_of_a_call_together_are_at_most_a_mebibyte(shared: Evaluator) -> None:
    fields = {f"args[{index}]": TextField("{{ 'a' * 400000 }}") for index in range(3)}
    with pytest.raises(TemplateError, match=r"^args\[2\]: the result is larger than 1 MiB, with the fields"):
        await shared.render(fields, SCOPE)


@pytest.mark.parametrize("template", TOO_DEEP)
async def test_deep_recursion_ends_in_a_sentence(shared: Evaluator, template: str) -> None:
    error = await refusal(shared, template)
    assert error.path == "spec.hostile"
    assert "nested too deeply" in error.message


async def test_a_scope_too_deep_for_json_is_the_templates_problem(shared: Evaluator) -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TemplateError, match="a: a value the template could use is nested too deeply"):
        await shared.render({"a": TextField("x")}, {"inputs": deep})


async def test_a_large_scope_reaches_the_template_whole(shared: Evaluator) -> None:
    scope = {"inputs": {"large": "x" * 5_000_000}}
    assert await shared.render({"n": ValueField("{{ inputs.large|length }}")}, scope) == {"n": 5_000_000}


async def test_calls_at_the_same_time_do_not_mix(shared: Evaluator) -> None:
    async def one(number: int) -> Any:
        hostile = number % 5 == 0
        template = "{{ 'a' * 10**9 }}" if hostile else "{{ n }}"
        try:
            return await shared.render({"f": ValueField(template)}, {"n": number})
        except TemplateError:
            return "refused"

    results = await asyncio.gather(*(one(number) for number in range(20)))
    assert results == [{"f": n} if n % 5 else "refused" for n in range(20)]


async def test_a_killed_child_is_replaced_and_the_call_succeeds() -> None:
    async with Evaluator() as evaluator:
        assert evaluator._child is not None
        killed = evaluator._child.pid
        os.kill(killed, signal.SIGKILL)
        assert await evaluator.render({"f": TextField("{{ inputs.order }}")}, SCOPE) == {"f": "12345"}
        assert evaluator._child is not None
        assert evaluator._child.pid != killed


async def test_a_frozen_child_is_not_taken_for_a_bad_template() -> None:
    async with Evaluator(patience=4) as evaluator:
        assert evaluator._child is not None
        frozen = evaluator._child.pid
        os.kill(frozen, signal.SIGSTOP)
        # The call is made once more, with another child.
        assert await evaluator.render({"f": TextField("fine")}, SCOPE) == {"f": "fine"}
        assert not is_running(frozen)


async def test_a_call_that_is_cancelled_leaves_nothing_for_the_next() -> None:
    async with Evaluator(cpu_seconds=60, patience=60) as evaluator:
        # Given a call that would take a minute
        assert evaluator._child is not None
        busy = evaluator._child.pid
        long = asyncio.create_task(evaluator.render({"f": TextField(TOO_LONG[0])}, SCOPE))
        await asyncio.sleep(0.2)
        # When it is cancelled
        long.cancel()
        with pytest.raises(asyncio.CancelledError):
            await long
        # Then nobody computes its answer any more, and the next one gets its own
        assert not is_running(busy)
        assert await evaluator.render({"g": TextField("mine")}, SCOPE) == {"g": "mine"}


async def test_the_child_knows_nothing_of_the_operators_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_DATABASE_URL", "postgresql://secret")
    async with Evaluator() as evaluator:
        assert evaluator._child is not None
        environment, limits = of_process(evaluator._child.pid, "environ", "limits")
    assert "secret" not in environment
    by_name = {line[:25].strip(): line[26:].split()[:2] for line in limits.splitlines()}
    assert by_name["Max address space"] == ["268435456", "268435456"]
    assert by_name["Max open files"] == ["0", "0"]


async def test_no_child_is_left_when_the_operator_ends() -> None:
    async with Evaluator() as evaluator:
        assert evaluator._child is not None
        pid = evaluator._child.pid
    assert not is_running(pid)


async def test_a_child_that_does_not_start_is_not_the_templates_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(EvaluatorUnavailableError, match="does not start"):
        await Evaluator().render({"f": TextField("x")}, SCOPE)
