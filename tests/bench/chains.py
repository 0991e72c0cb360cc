"""One container step, and ten in a chain, against bare Jobs."""

import statistics
from collections.abc import Callable

from tests.bench.bench import Bench, say
from tests.bench.manifests import container_steps
from tests.bench.measure import timed

CHAIN = 10


def compare(
    title: str, repeats: int, ours: Callable[[], object], theirs: Callable[[], object], of: str
) -> None:
    """Time both in turns, so that both meet the same load, and print the ratio of their medians."""
    pairs = [(timed(ours), timed(theirs)) for _ in range(repeats)]
    ours_median, theirs_median = (statistics.median(column) for column in zip(*pairs, strict=True))
    say(
        f"{title}: {ours_median / theirs_median:.2f} of {of}"
        f" ({ours_median:.2f} s against {theirs_median:.2f} s, median of {repeats})"
    )


def run(bench: Bench) -> None:
    """Print both ratios."""
    with bench.namespace() as namespace:
        bench.run_task(namespace, container_steps(1))
        bench.run_jobs(namespace, 1)
        for title, steps, repeats in (
            ("one container step", 1, bench.sized(10)),
            (f"{CHAIN} container steps in a chain", CHAIN, bench.sized(5)),
        ):
            compare(
                title,
                repeats,
                lambda steps=steps: bench.run_task(namespace, container_steps(steps)),
                lambda steps=steps: bench.run_jobs(namespace, steps),
                "bare Jobs",
            )
