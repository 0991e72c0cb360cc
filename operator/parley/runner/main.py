"""Entry point ``parley-runner``: ``step`` runs one attempt of a prompt step in a Job's pod."""

import os
import signal
import sys

_USAGE = "usage: parley-runner step\n"


def main() -> None:
    """Run the command; ends the process."""
    # Before the imports, which take a while: process 1 of a container ignores signals it does not handle.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(128 + signal.SIGTERM))
    if sys.argv[1:] != ["step"]:
        sys.stderr.write(_USAGE)
        sys.exit(1)
    from parley.runner.process import run_process  # noqa: PLC0415 - see above

    code = run_process()
    sys.stderr.flush()
    # Nothing is left to do, and a thread that still renders or imports must not hold up the pod's end.
    os._exit(code)


if __name__ == "__main__":
    main()
