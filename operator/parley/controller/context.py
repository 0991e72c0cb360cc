"""What all reconcilers of one leadership share."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from parley.controller.echoes import Echoes
from parley.controller.projection import Projection
from parley.controller.queue import Key, KeyedQueue
from parley.controller.settings import Settings
from parley.controller.slots import Slots
from parley.controller.specs import SpecReader
from parley.controller.turns import Askers, Lines, ReadySteps
from parley.controller.warm_demand import WarmDemand
from parley.controller.warm_pools import WarmPools
from parley.kube.client import KubeApi
from parley.kube.events import Transition
from parley.store.leader import Fence
from parley.store.pool import Connection, Pool, connect
from parley.templates.evaluator import Evaluator

TASK_KEY = "Task"
SESSION_KEY = "Session"
AGENT_KEY = "Agent"
TURNS_KEY = "Turns"
TEMPLATE_KEY = "TaskTemplate"
SCHEDULE_KEY = "Schedule"
REPLY_KEY = "Reply"
WARM_KEY = "Warm"
"""An Agent's warm runners, by the Agent's name."""
GONE_TASK_KEY = "GoneTask"
GONE_SESSION_KEY = "GoneSession"


@dataclass(slots=True)
class Context:
    """One leadership: made when it begins, dropped when it ends."""

    settings: Settings
    kube: KubeApi
    pool: Pool
    evaluator: Evaluator
    queue: KeyedQueue
    cluster: str
    store_id: str
    fence: Fence
    tell: Callable[[Transition], None]
    """Posts a Kubernetes Event, later and at most once."""
    projection: Projection = field(default_factory=Projection)
    ready_steps: ReadySteps = field(default_factory=ReadySteps)
    askers: Askers = field(default_factory=Askers)
    lines: Lines = field(default_factory=Lines)
    known_sessions: set[str] = field(default_factory=set[str])
    """uids of sessions that have a row in this store."""
    mismatched_sessions: dict[str, str] = field(default_factory=dict[str, str])
    """By uid: why a session takes no turn, because this store is not the one it was held in."""

    specs: SpecReader = field(default_factory=SpecReader)
    echoes: Echoes = field(default_factory=Echoes)
    slots: Slots = field(init=False)
    demand: WarmDemand = field(init=False)
    pools: WarmPools = field(init=False)

    def __post_init__(self) -> None:
        self.demand = WarmDemand(lambda namespace, name: self.wake(WARM_KEY, namespace, name))
        self.pools = WarmPools(self.settings, self.cluster, self.store_id)
        self.slots = Slots(lambda namespace, name: self.wake(TASK_KEY, namespace, name))

    @asynccontextmanager
    async def store(self) -> AsyncGenerator[Connection]:
        """Lend a connection to the store; raises StoreUnavailable."""
        async with connect(self.pool) as connection:
            yield connection

    def wake(self, kind: str, namespace: str, name: str) -> None:
        """Queue a key."""
        self.queue.add(Key(kind, namespace, name))
