"""``python -m parley.resources FOLDER`` writes the CRDs into a folder; without one it prints them."""

import sys
from pathlib import Path

from parley.resources.crd import render_crds, write_crds


def main(arguments: list[str]) -> None:
    """Write or print the CRDs."""
    if arguments:
        for path in write_crds(Path(arguments[0])):
            sys.stdout.write(f"wrote {path}\n")
    else:
        sys.stdout.write("---\n".join(render_crds().values()))


if __name__ == "__main__":
    main(sys.argv[1:])
