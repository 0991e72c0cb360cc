"""Carrying out the plan's actions in the simulation, one case an action."""

from parley.engine.actions import (
    Action,
    AnswerCall,
    CloseAttempt,
    CreateChild,
    CreateJob,
    CreateRound,
    EndStep,
    EndTask,
    EndTurn,
    EnterStep,
    ExpireWait,
    FinishChild,
    FinishContainer,
    LookAgain,
    QueueTask,
    RefuseAttempt,
    SetSuspended,
    StartAttempt,
    StartCall,
    StartRound,
    StopJob,
)
from parley.engine.situation import needs_slot
from parley.engine.state import Hold, Surroundings
from parley.resources.reasons import Reason
from parley.resources.task import DesiredState, Step, TaskSpec

from tests.unit.engine.sim_cluster import SimCluster
from tests.unit.engine.sim_flow import SimFlow
from tests.unit.engine.sim_memory import UID, Memory
from tests.unit.engine.sim_store import SimStore

_ATTEMPTS = (StartAttempt, StartRound, StartCall, QueueTask, RefuseAttempt)
_STARTING = (*_ATTEMPTS, EnterStep)
_BEGINNING = (*_STARTING, CreateJob, CreateRound, CreateChild)


class Carrier:
    """One reconcile: ``spec`` is what it began with."""

    def __init__(
        self, store: SimStore, cluster: SimCluster, flow: SimFlow, memory: Memory, spec: TaskSpec
    ) -> None:
        self.known = Surroundings()
        """What the plan was made from."""
        self.denied: dict[str, Hold] = {}
        self.looked: set[str] = set()
        self._store, self._cluster, self._flow = store, cluster, flow
        self._memory, self._spec = memory, spec

    def carry_out(self, action: Action) -> None:
        """Carry out one action of the plan."""
        if isinstance(action, _BEGINNING):
            assert self._spec.desired_state is not DesiredState.CANCELLED, (
                "something begins in a cancelled task"
            )
        if isinstance(action, _STARTING):
            assert self._spec.desired_state is DesiredState.RUNNING, "something new starts while suspended"
            assert self.known.gate.session_over is None, "something new starts after the session is over"
        if isinstance(action, _ATTEMPTS):
            assert self.known.gate.session_hold is None, "something new starts while the session is paused"
        if isinstance(action, StopJob | LookAgain | CreateJob | CreateRound):
            self._touch_cluster(action)
        else:
            self._write(action)

    def _touch_cluster(self, action: StopJob | LookAgain | CreateJob | CreateRound) -> None:
        workloads = self._memory.workloads
        match action:
            case CreateJob():
                workloads.see_job(UID, self._cluster.create_job(action.attempt.job))
            case CreateRound():
                each = action.step.for_each
                assert each is not None
                assert [a.index for a in action.attempts] == list(range(len(action.attempts)))
                job = self._cluster.create_job(action.job, len(action.attempts), each.parallelism)
                workloads.see_job(UID, job)
            case StopJob():
                stopped = self._cluster.suspend_job(action.job)
                if stopped is None:
                    workloads.drop_job(UID, action.job)
                else:
                    workloads.see_job(UID, stopped)
            case LookAgain():
                self._memory.look(self._cluster, action.job)
                self.looked.add(action.job)

    def _write(self, action: Action) -> None:  # noqa: C901, PLR0912 - one case an action
        store, calls = self._store, self._cluster.calls
        match action:
            case StartAttempt():
                self._check_slot(action.step)
                if store.insert(action) == "turn":
                    self.denied[action.step.name] = Hold(
                        Reason.SESSION_BUSY, "another turn holds the session"
                    )
            case RefuseAttempt():
                store.refuse(action)
            case StartCall():
                assert self._memory.slot or not self._memory.limited, "a call starts without a slot"
                calls.start(action)
            case AnswerCall():
                calls.answer(action)
            case QueueTask():
                calls.queue(action)
            case StartRound():
                self._check_slot(action.step)
                store.insert_round(action)
            case CreateChild():
                self._flow.create_child(action)
            case FinishChild():
                store.finish_child(action)
            case FinishContainer():
                store.finish_container(action.attempt, action.verdict)
            case CloseAttempt():
                store.close(action)
            case EnterStep():
                self._flow.enter(action.step)
            case EndStep():
                self._flow.end_step(action, next(s for s in store.steps if s.name == action.step))
            case ExpireWait() if store.wait(action.wait_id).kind == "Approval":
                assert self._store.suspended_since is None, "an approval expires in a suspended task"
                calls.expire(action)
            case ExpireWait():
                self._flow.expire(action)
            case EndTurn():
                store.end_turn(action.step, failed=action.failed)
            case SetSuspended():
                store.set_suspended(action.suspended)
            case EndTask():
                over = action.reason is Reason.SESSION_ENDED
                assert not over or not store.open_attempts(), "what runs is cut off by its session's end"
                store.end_task(action)
            case _:
                raise AssertionError(f"{action} is of the cluster")

    def _check_slot(self, step: Step) -> None:
        if step.prompt is not None:
            assert self.known.gate.quota is None, f"{step.name} starts without tokens"
        if needs_slot(step):
            assert self._memory.slot or not self._memory.limited, f"{step.name} starts without a slot"
