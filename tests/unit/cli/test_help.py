"""Help answers at once, shows an example of every command, and the examples are right."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from parley.cli.app import App
from parley.cli.command import Command
from parley.cli.main import COMMANDS, cli

from tests.unit.cli.conftest import Run

MOST_MODULES = 130
HEAVY = (
    "kubernetes",
    "httpx2",
    "pydantic",
    "rich",
    "yaml",
    "urllib3",
    "asyncio",
    "parley.client",
    "parley.kube.client",
)
COUNTING = """
import contextlib, io, sys
before = set(sys.modules)
from parley.cli.app import App
from parley.cli.main import run
with contextlib.redirect_stdout(io.StringIO()):
    code = run(sys.argv[1:], App())
print(code, len(set(sys.modules) - before), *sorted(set(sys.modules)))
"""


def commands() -> list[tuple[str, Command]]:
    context = click.Context(cli, info_name="parley", obj=App())
    found: list[tuple[str, Command]] = []
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if isinstance(command, click.Group):
            found += [
                (f"{name} {sub}", one) for sub, one in command.commands.items() if isinstance(one, Command)
            ]
        else:
            assert isinstance(command, Command), name
            found.append((name, command))
    return found


ALL = commands()


@pytest.mark.parametrize("arguments", ["--help", "chat --help", "run --help", "schedule run-now --help"])
def test_help_imports_little(arguments: str) -> None:
    # Time depends on the machine; what is imported does not, and is what takes the time.
    done = subprocess.run(
        [sys.executable, "-c", COUNTING, *arguments.split()],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path), "PATH": "/usr/bin:/bin"},
    )
    code, count, *modules = done.stdout.split()
    assert code == "0"
    assert [name for name in HEAVY if name in modules] == []
    assert int(count) <= MOST_MODULES


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_has_help_with_an_example(name: str, command: Command, parley: Run) -> None:
    said = parley(*name.split(), "--help")

    assert said.code == 0
    assert command.help, "it says what it does"
    assert all(option.help for option in command.params if isinstance(option, click.Option))
    assert command.examples, "it has an example"
    for example in command.examples:
        assert example in said.out


@pytest.mark.parametrize(
    ("name", "example"), [(name, example) for name, command in ALL for example in command.examples]
)
def test_the_examples_can_be_typed(
    name: str, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("inputs.yaml", "alice.jsonl"):
        (tmp_path / file).write_text("{}")
    lines = re.findall(r"parley ([^|>()]+)", example)
    assert any(line.startswith(name) for line in lines), example
    for line in lines:
        words = shlex.split(line)
        context = cli.make_context("parley", words, obj=App())
        with context:
            _, command, rest = cli.resolve_command(context, [*context._protected_args, *context.args])
            assert command is not None
            while isinstance(command, click.Group):
                inner = command.make_context("sub", rest, parent=context)
                _, command, rest = command.resolve_command(inner, [*inner._protected_args, *inner.args])
                assert command is not None
            with command.make_context(name, rest, parent=context):
                pass


def test_the_list_of_commands_tells_what_each_is_for(parley: Run) -> None:
    said = parley("--help")

    for name, (_, text) in COMMANDS.items():
        assert name in said.out
        assert text in said.out


def test_options_stand_before_or_after_the_command(parley: Run) -> None:
    before, after = parley("-n", "empty", "sessions"), parley("sessions", "-n", "empty")

    assert before == after
    assert "namespace empty" in before.err


def test_a_word_that_is_no_command_is_answered_with_one_that_is(parley: Run) -> None:
    said = parley("sesions")

    assert said.code == 2
    assert "Did you mean 'sessions'?" in said.err
