"""Sessions to files and back."""

import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

import click

from parley.cli.app import App
from parley.cli.failures import CliError
from parley.cli.output import print_value

_MOST = 64 * 1024 * 1024


def export(app: App, session: str, file: str | None) -> None:
    """Write a session to a file, whole or not at all; or to stdout."""
    with app.gateway() as parley:
        if file is None:
            for chunk in parley.export_session(session):
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()
            return
        target = Path(file)
        try:
            part, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        except OSError as error:
            raise CliError(
                f"--file {file}: {error.strerror}", "choose a folder that you may write to"
            ) from error
        try:
            lines = 0
            with os.fdopen(part, "wb") as stream:
                for chunk in parley.export_session(session):
                    lines += chunk.count(b"\n")
                    stream.write(chunk)
            Path(name).replace(target)
        finally:
            Path(name).unlink(missing_ok=True)
    click.echo(f"{max(0, lines - 2)} events of {session} in {file}", err=True)


def import_into(app: App, session: str, file: BinaryIO) -> None:
    """Bring a file's events into a session."""
    content = file.read(_MOST + 1)
    if len(content) > _MOST:
        raise CliError(
            "the file is over 64 MiB, more than the gateway takes at once", "import a shorter session"
        )
    if not content.strip():
        raise CliError("the file is empty", "write it with: parley export SESSION -f FILE")
    with app.gateway() as parley:
        done = parley.import_session(session, content)
    if app.settings.output in {"json", "yaml"}:
        print_value(done.to_json(), app.settings.output)
        return
    there = f", {done.already_there} were there already" if done.already_there else ""
    click.echo(f"{done.imported} events imported into {session}{there}; it has {done.last_sequence} now")
