"""The operator's metrics. Labels are bounded: kinds, verbs, outcomes; never a name."""

from collections import Counter as Tally
from collections.abc import Callable, Iterable

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

API_WRITES = Counter("parley_api_writes_total", "Writes sent to the API server.", ["verb", "kind"])
RECONCILES = Counter("parley_reconciles_total", "Reconciles by how they ended.", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(
    "parley_reconcile_seconds",
    "Time of one reconcile.",
    ["kind"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
)
QUEUE_LENGTH = Gauge("parley_queue_length", "Keys that wait for a worker.")
LEADER = Gauge("parley_leader", "1 while this process leads.")
STORE_MISMATCH = Gauge(
    "parley_store_mismatch", "1 while Postgres is not the store this cluster was used with."
)
DEADLINES_MOVED_SECONDS = Counter(
    "parley_deadlines_moved_seconds_total",
    "How far open deadlines were moved after the store or the operator was away.",
)
EVENTS_DROPPED = Counter(
    "parley_events_dropped_total", "Kubernetes Events that were not posted because too many waited."
)
REPLIES = Counter("parley_replies_total", "Replies by what became of them.", ["reason"])
REPLY_SECONDS = Histogram(
    "parley_reply_seconds",
    "Time from a question to the Reply that answered it.",
    buckets=(1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600),
)
SCHEDULED_TASKS = Counter(
    "parley_scheduled_tasks_total", "Tasks that Schedules made, by what for.", ["cause"]
)

SESSION_TRANSITIONS = Counter(
    "parley_session_transitions_total", "Sessions that came to another state, by state.", ["state"]
)
HISTORIES_CLEARED = Counter(
    "parley_histories_cleared_total", "Times that contents of a session were erased, by what for.", ["cause"]
)
TASKS_ADOPTED = Counter(
    "parley_posted_tasks_adopted_total", "Tasks made for messages that a gateway posted and left without one."
)
TRANSCRIPTS_RESTORED = Counter(
    "parley_transcripts_restored_total", "Sessions that went on with the transcript of an earlier one."
)
ROWS_ERASED = Counter(
    "parley_gone_erased_total",
    "Sessions and tasks whose rows were erased after their object had gone.",
    ["kind"],
)
ERASURE_HELD = Gauge(
    "parley_erasure_held",
    "Objects of a namespace whose rows are due to be erased and are not, because they are too many at once.",
    ["namespace"],
)


class _Objects(Collector):
    """Objects, counted by some labels when somebody asks, so that no change of one can be missed."""

    def __init__(self, empty: Callable[[], GaugeMetricFamily]) -> None:
        self._empty = empty
        self._found: Callable[[], Iterable[tuple[str, ...]]] = tuple[tuple[str, ...]]

    def watch(self, found: Callable[[], Iterable[tuple[str, ...]]]) -> None:
        """Count from now on what this tells: the labels of each such object."""
        self._found = found

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Answer a scrape."""
        family = self._empty()
        for labels, number in sorted(Tally(self._found()).items()):
            family.add_metric(labels, number)  # pyright: ignore[reportUnknownMemberType]
        yield family


TASKS_WAITING = _Objects(
    lambda: GaugeMetricFamily(
        "parley_tasks_waiting", "Tasks that wait for a person's reply.", labels=["namespace"]
    )
)
SESSIONS = _Objects(
    lambda: GaugeMetricFamily("parley_sessions", "Sessions by phase.", labels=["namespace", "phase"])
)
for each in (TASKS_WAITING, SESSIONS):
    REGISTRY.register(each)
