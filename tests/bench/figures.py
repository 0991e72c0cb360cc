"""Many measurements in words."""

import statistics
from collections.abc import Sequence


def in_words(seconds: Sequence[float]) -> str:
    """Delays as their median and their 99th percentile."""
    if len(seconds) < 2:
        return f"{[round(1000 * each) for each in seconds]} ms, too few for a median"
    p50, p99 = statistics.median(seconds), statistics.quantiles(seconds, n=100, method="inclusive")[98]
    return f"p50 {1000 * p50:.0f} ms, p99 {1000 * p99:.0f} ms, of {len(seconds)}"
