"""A quicker start: every prompt's first second is spent on imports."""

import gc
import sys
from types import ModuleType
from typing import cast

STARTING_SECONDS = 30.0
"""After which garbage is collected again: everything is loaded by then, on a busy node too."""
_LEFT_OUT = ("httpx._main", "openai._vendor.httpx_aiohttp")
"""Parts that their libraries do without: a command line, with all that draws tables, and another HTTP client."""


def begin_start() -> None:
    """Leave out what no step uses; to be called before the imports."""
    # While modules are loaded there is nothing to collect, and looking for it takes a fifth of the time.
    gc.disable()
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    for name in _LEFT_OUT:
        # Its import then fails as that of a package that is not installed.
        modules.setdefault(name, None)


def end_start() -> None:
    """Collect garbage again, but not among what was loaded."""
    gc.freeze()
    gc.enable()
