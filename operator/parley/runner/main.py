"""Entry point ``parley-runner``: what Parley runs in a step's pod.

``step`` runs one attempt of a prompt step, ``serve`` those of a task one after the other, ``warm`` those of an agent,
several at a time. Beside a user's container ``input`` writes its input file before it starts, and ``output`` sends its
output file once it has ended.
"""

import os
import signal
import sys

_USAGE = "usage: parley-runner step|serve|warm|input|output\n"


def main() -> None:
    """Run the command; ends the process."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""
    # Before the imports, which take a while: process 1 of a container ignores signals it does not handle. To the
    # uploader a SIGTERM says that its work begins.
    if command != "output":
        signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(128 + signal.SIGTERM))
    code = _run(command)
    sys.stderr.flush()
    # Nothing is left to do, and a thread that still renders or imports must not hold up the pod's end.
    os._exit(code)


def _run(command: str) -> int:
    # Each imports what it needs itself: the containers' helpers start in a fifth of a runner's time.
    match command:
        case "step" | "serve" | "warm":
            from parley.runner.quick_start import begin_start  # noqa: PLC0415 - see above

            begin_start()
            from parley.runner.process import run_process  # noqa: PLC0415 - see above

            return run_process(command)
        case "input":
            from parley.runner.input_file import write_input  # noqa: PLC0415 - see above

            return write_input()
        case "output":
            from parley.runner.output_file import send_output  # noqa: PLC0415 - see above

            return send_output()
        case _:
            sys.stderr.write(_USAGE)
            return 1


if __name__ == "__main__":
    main()
