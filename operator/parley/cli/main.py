"""The entry point of ``parley`` and ``kubectl parley``."""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from parley.cli.app import App
from parley.cli.failures import ExitCode, explained
from parley.cli.options import gateway_options

SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Talk": {
        "chat": ("chat", "Talk with an agent; the answer streams as it comes."),
        "sessions": ("sessions", "List conversations, or show one."),
        "events": ("events", "What was said and done in a session; --follow."),
        "export": ("transfer", "Write a session's events to a file."),
        "import": ("transfer", "Read exported events into a session."),
    },
    "Run": {
        "run": ("run", "Run a TaskTemplate, wait, print the output."),
        "tasks": ("tasks", "Tasks as a tree, with live progress (--watch)."),
        "logs": ("logs", "Logs of a Task's pods."),
        "cancel": ("steering", "End a Task, for good."),
        "suspend": ("steering", "Let nothing new begin in a Task, Session or Schedule."),
        "resume": ("steering", "Let what was suspended go on."),
        "schedule": ("schedule", "Schedules: list them, run one now."),
    },
    "Decide": {
        "waiting": ("waiting", "What waits for a person: an inbox (-A)."),
        "approve": ("replies", "Answer `approve` to what a Task asks."),
        "reject": ("replies", "Answer `reject` to what a Task asks."),
        "reply": ("replies", "Answer a Task's question with a choice or a value."),
    },
    "Look after": {
        "doctor": ("doctor", "What is wrong with this installation, and what to do."),
        "version": ("version", "Versions of parley, the cluster and the CRDs."),
        "completion": ("completion", "Print a shell's completion script."),
    },
}
"""Every command, by the heading it stands under: its module in ``commands``, and its line of help."""

COMMANDS = {name: entry for commands in SECTIONS.values() for name, entry in commands.items()}


class Commands(click.Group):
    """A group that knows its commands' names and help, and imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module that has the command."""
        del ctx
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = import_module(f"parley.cli.commands.{entry[0]}")
        return getattr(module, f"{cmd_name}_command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Tell what was perhaps meant when there is no such command."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else ""
            raise click.UsageError(f"there is no command {args[0]!r}.{meant}", ctx) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings, without importing them."""
        del ctx
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()], col_max=12)


def program_name() -> str:
    """How the user called it: kubectl runs its plugins by their file's name."""
    return "kubectl parley" if Path(sys.argv[0]).name.startswith("kubectl") else "parley"


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each command's --help has an example. Answers are for people; -o json or yaml is for programs.",
)
@gateway_options
def cli() -> None:
    """Conversations and long tasks of AI agents on Kubernetes.

    Uses your kubeconfig and acts under your own identity.
    """


def end(number: int, frame: FrameType | None) -> NoReturn:
    """End on a signal with the code that shells know it by; unlike Ctrl-C, which may end but an answer."""
    del frame
    raise SystemExit(128 + number)


def main() -> None:
    """Run a command and exit with its code."""
    # What was started, such as a port-forward, must be ended too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    sys.exit(run(sys.argv[1:], App()))


def run(arguments: list[str], app: App) -> int:
    """Run a command; return the code for the shell. Whatever goes wrong is one line on stderr, and what to do."""
    try:
        code = cli.main(arguments, prog_name=program_name(), standalone_mode=False, obj=app)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Who read our output, such as `head`, has gone. Python would complain once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - a user is never shown a traceback
        problem = explained(error)
        problem.show()
        return problem.code
    return code if isinstance(code, int) else ExitCode.OK
