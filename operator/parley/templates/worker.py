"""The evaluator's child: ``python -m parley.templates.worker CPU_SECONDS MEMORY_BYTES``.

It limits itself, so that no template can do more than end it: the CPU time of a request by a timer whose signal is
not handled, its whole address space, and no file or socket it could open.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from parley.resources.schema_check import value_problem
from parley.templates.errors import TemplateError
from parley.templates.frames import OUT_OF_MEMORY, Check, Request, read_frame, to_frame
from parley.templates.render import render_text, render_value
from parley.templates.values import LIMITS

if TYPE_CHECKING:
    from pydantic import JsonValue

# Rendered once before files are out of reach: Jinja2 imports some of its parts when they are first used.
_WARM_UP = "{% for a in b %}{{ loop.index }}{{ a|pprint|wordwrap(9) ~ 1 }}{{ '{}'.format(a) }}{% endfor %}"


def main(arguments: list[str]) -> None:
    """Answer requests until standard input ends."""
    cpu_seconds, memory = float(arguments[0]), int(arguments[1])
    render_text(_WARM_UP, {"b": ["x"]}, "warm-up")
    with suppress(TemplateError):
        render_text("{{ a.b }}", {"a": {}}, "warm-up")
    value_problem({"type": "array", "items": {"pattern": "^a", "minimum": 2}}, ["b", 1], "warm-up")
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    _send({"ready": True})
    try:
        while (message := read_frame(sys.stdin.buffer)) is not None:
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            request = cast("Request | Check", message)
            if "check" in request:
                _check(request)
            else:
                _answer(request)
            signal.setitimer(signal.ITIMER_PROF, 0)
    except MemoryError:
        # Whatever is left of the heap is not worth keeping, nor is there room to say so.
        os._exit(OUT_OF_MEMORY)


def _answer(request: Request) -> None:
    left = LIMITS.result_bytes
    for field in request["fields"]:
        path, template, scope = field["path"], field["template"], request["scope"]
        try:
            value: JsonValue = (
                render_text(cast("str", template), scope, path)
                if field["text"]
                else render_value(template, scope, path)
            )
            frame = to_frame({"value": value})
            left -= len(frame)
            if left < 0:
                raise TemplateError(path, f"{LIMITS.too_large}, with the fields before it")  # noqa: TRY301
        except TemplateError as error:
            _send({"error": error.message, "path": error.path})
            return
        _write(frame)


def _check(request: Check) -> None:
    problem = value_problem(request["check"], request["value"], request["path"])
    _send({"value": str(problem) if problem else None})


def _send(message: object) -> None:
    _write(to_frame(message))


def _write(frame: bytes) -> None:
    sys.stdout.buffer.write(frame)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
