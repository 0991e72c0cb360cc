"""The leader's fence and its tick."""

from dataclasses import dataclass
from datetime import timedelta

from parley.store.errors import Fenced
from parley.store.pool import Connection

__all__ = ["Fence", "Fenced", "lock_leader", "raise_epoch", "tick"]


@dataclass(frozen=True, slots=True)
class Fence:
    """A leader's claim. ``cluster`` is the uid of the namespace kube-system, ``install`` the release's name."""

    cluster: str
    install: str
    epoch: int


async def raise_epoch(conn: Connection, cluster: str, install: str, holder: str) -> Fence:
    """Make the caller, who holds the Lease, the leader: all older fences are refused from now on.

    Writes of older leaders that are under way are waited for. Applies the gap rule of ``tick`` at once.
    """
    raise NotImplementedError


async def lock_leader(conn: Connection, fence: Fence) -> None:
    """Hold the epoch until the transaction ends. The first statement of every operator write.

    Raises:
        Fenced: another leader has raised the epoch.
    """
    raise NotImplementedError


async def tick(conn: Connection, fence: Fence) -> timedelta:
    """Say that leader and store are there; call it every 5 s.

    After a gap of more than 30 s every open deadline of this install (attempts, tasks, waits) moves by the gap plus
    30 s; a suspended task's own deadlines stand still and move when it resumes. Any other operator write does this
    too when it is the first after the gap.

    Returns:
        How far the deadlines moved; zero mostly.

    Raises:
        Fenced: another leader has raised the epoch.
    """
    raise NotImplementedError
