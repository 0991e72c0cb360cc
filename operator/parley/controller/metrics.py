"""The operator's metrics. Labels are bounded: kinds, verbs, outcomes; never a name."""

from prometheus_client import Counter, Gauge, Histogram

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
