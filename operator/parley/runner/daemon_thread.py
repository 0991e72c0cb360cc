"""A blocking function in a thread that never holds up the process's end."""

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_daemon_thread(function: Callable[[], Result]) -> Result:
    """Run ``function`` and await its result.

    Unlike ``asyncio.to_thread``, neither the event loop's nor the interpreter's end waits for it: a template
    that never ends must not keep a pod from stopping.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Result] = loop.create_future()

    def succeed(result: Result) -> None:
        if not future.done():
            future.set_result(result)

    def fail(error: BaseException) -> None:
        if not future.done():
            future.set_exception(error)

    def work() -> None:
        # The loop may be closed by then: nobody wants the result any more.
        with contextlib.suppress(RuntimeError):
            try:
                result = function()
            except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
                loop.call_soon_threadsafe(fail, error)
            else:
                loop.call_soon_threadsafe(succeed, result)

    # What it logs is about the same attempt.
    context = contextvars.copy_context()
    threading.Thread(target=lambda: context.run(work), daemon=True, name="parley-blocking").start()
    return await future
