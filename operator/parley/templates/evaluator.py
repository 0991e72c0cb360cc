"""Render templates in a guarded child process, so that no template can stop or fill the operator.

One long-lived child serves all calls, one after the other. A call may take 1 s of CPU time, and the child 256 MiB of
memory in all; over that, or when it crashes, it is replaced and the call fails with a ``TemplateError``.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from pydantic import JsonValue

from parley.templates.errors import TemplateError
from parley.templates.fields import Field, TextField
from parley.templates.frames import LENGTH, MAX_FRAME_BYTES, OUT_OF_MEMORY, Check, Request, to_frame

CPU_SECONDS = 1.0
MEMORY_BYTES = 256 * 1024 * 1024
PATIENCE = 10.0
"""Seconds on the clock for a call. Only a child that is starved or frozen needs more than its CPU time."""
START_PATIENCE = 30.0
"""Seconds on the clock for a child to start."""

_CRASHES = frozenset({-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS, -signal.SIGILL})


class EvaluatorUnavailableError(Exception):
    """The child cannot be started, or gets no CPU; the templates are not to blame. Try again later."""


class _ChildLostError(Exception):
    """The child ended, or was ended, during a call; ``code`` is its exit code, None when it was stopped in vain."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Evaluator:
    """Renders fields in the child. Use it as ``async with Evaluator() as evaluator``."""

    def __init__(
        self,
        *,
        cpu_seconds: float = CPU_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        patience: float = PATIENCE,
    ) -> None:
        self._limits = (str(cpu_seconds), str(memory_bytes))
        self._too_long = f"takes more than {cpu_seconds:g} s of CPU time"
        self._too_much = f"needs more than {memory_bytes // 1024**2} MiB of memory"
        self._patience = patience
        self._lock = asyncio.Lock()
        self._child: Process | None = None

    async def __aenter__(self) -> Self:
        async with self._lock:
            await self._started()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def render(
        self, fields: Mapping[str, Field], scope: Mapping[str, JsonValue]
    ) -> dict[str, JsonValue]:
        """Render fields; the result has the same paths, a text for each ``TextField``.

        Raises:
            TemplateError: a template is wrong, or reached a limit; the path says which.
            EvaluatorUnavailableError: there is no child to ask; try again later.
        """
        if not fields:
            return {}
        paths = list(fields)
        request = Request(
            fields=[
                {"path": path, "text": isinstance(field, TextField), "template": field.template}
                for path, field in fields.items()
            ],
            scope=dict(scope),
        )
        try:
            frame = to_frame(request)
        except RecursionError:
            raise TemplateError(paths[0], "a value the template could use is nested too deeply") from None
        return await self._answer(paths, frame)

    async def check(self, schema: Mapping[str, JsonValue], value: JsonValue, path: str) -> str | None:
        """Say what is wrong with a value by a JSON Schema, beginning with its path; None where it fits.

        Here, not in this process: a schema's pattern may take for ever, and nothing else would run meanwhile.

        Raises:
            EvaluatorUnavailableError: there is no child to ask; try again later.
        """
        try:
            frame = to_frame(Check(path=path, value=value, check=dict(schema)))
            problem = (await self._answer([path], frame))[path]
        except RecursionError:
            return f"{path}: is nested too deeply to be checked"
        except TemplateError as error:
            return f"{path}: to check it against its schema {error.message}"
        return None if problem is None else str(problem)

    async def _answer(self, paths: Sequence[str], frame: bytes) -> dict[str, JsonValue]:
        async with self._lock:
            try:
                return await self._ask(paths, frame)
            except _ChildLostError:
                # Not the fault of this call, as far as one can tell from one try.
                pass
            try:
                return await self._ask(paths, frame)
            except _ChildLostError as lost:
                if lost.code in _CRASHES:
                    raise TemplateError(paths[0], "a template here crashes the evaluator") from None
                raise EvaluatorUnavailableError(
                    f"the template evaluator ended twice during a call ({lost.code})"
                ) from None

    async def _ask(self, paths: Sequence[str], frame: bytes) -> dict[str, JsonValue]:
        child = await self._started()
        values: dict[str, JsonValue] = {}
        try:
            async with asyncio.timeout(self._patience):
                await self._exchange(child, paths, frame, values)
        except TimeoutError:
            await self._stop()
            raise _ChildLostError(None) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            code = await self._reap(child)
            path = paths[len(values)]
            if code == -signal.SIGPROF:
                raise TemplateError(path, self._too_long) from None
            if code == OUT_OF_MEMORY:
                raise TemplateError(path, self._too_much) from None
            raise _ChildLostError(code) from None
        except TemplateError:
            raise
        except BaseException:
            # Cancelled in the middle: what the child would still say belongs to nobody.
            await self._stop()
            raise
        return values

    async def _exchange(
        self, child: Process, paths: Sequence[str], frame: bytes, values: dict[str, JsonValue]
    ) -> None:
        assert child.stdin is not None  # noqa: S101 - it was started with pipes
        child.stdin.write(frame)
        await child.stdin.drain()
        for path in paths:
            answer = await _read_frame(child)
            if "error" in answer:
                raise TemplateError(str(answer["path"]), str(answer["error"]))
            values[path] = answer["value"]

    async def _started(self) -> Process:
        if self._child is not None and self._child.returncode is None:
            return self._child
        if self._child is not None:
            await self._reap(self._child)
        package = Path(__file__).parents[2]
        try:
            self._child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "parley.templates.worker", *self._limits),
                stdin=PIPE,
                stdout=PIPE,
                # Nothing of the operator's own environment: it holds the database's password.
                env={"PYTHONPATH": str(package)},
                start_new_session=True,
            )
            async with asyncio.timeout(START_PATIENCE):
                await _read_frame(self._child)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self._stop()
            raise EvaluatorUnavailableError(f"the template evaluator does not start: {error}") from error
        except BaseException:
            await self._stop()
            raise
        return self._child

    async def _stop(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.kill()
            await self._reap(self._child)

    async def _reap(self, child: Process) -> int:
        if self._child is child:
            self._child = None
        if child.stdin is not None:
            child.stdin.close()
            with suppress(ConnectionError):
                await child.stdin.wait_closed()
        return await child.wait()


async def _read_frame(child: Process) -> dict[str, JsonValue]:
    assert child.stdout is not None  # noqa: S101 - it was started with pipes
    (length,) = LENGTH.unpack(await child.stdout.readexactly(LENGTH.size))
    if length > MAX_FRAME_BYTES:
        raise ConnectionError(f"a frame of {length} bytes")
    return cast("dict[str, JsonValue]", json.loads(await child.stdout.readexactly(length)))
