"""One attempt of a step, from ``take`` to ``finish`` or ``pause``; what it does meanwhile depends on its kind."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from parley.protocol.messages import FinishBody, PauseBody, TakeAnswer, Usage
from parley.protocol.request import PromptRequest, ToolRequest
from parley.resources.reasons import Reason
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.failure import StepFailure
from parley.runner.fallbacks import ConnectModel, MakeModel, in_thread
from parley.runner.gateway_client import GatewayClient, NotAdmitted, Rejected, StopRunning, TooLarge
from parley.runner.log import ABOUT
from parley.runner.means import Means
from parley.runner.rendering import InThread, Renderer
from parley.runner.tool_opening import LoadTools, load_tool_box
from parley.runner.tool_step import ToolStepRun
from parley.runner.turn import Turn

DEADLINE_GRACE = timedelta(seconds=5)
"""The operator closes an attempt at its deadline; the runner gives up only if that has not happened."""

COMMIT_GRACE_SECONDS = 15.0
"""How long a commit under way may still take after SIGTERM; the pod's grace period is 30 s."""

log = logging.getLogger(__name__)


def load_model_seam() -> MakeModel:
    """Import the agent library, which takes about a second."""
    from parley.runner.model import LibraryModel  # noqa: PLC0415 - see above

    return LibraryModel


class StepRun:
    """One attempt, from ``take`` to ``finish``.

    Args:
        gateway: where the attempt is taken from and committed to.
        secrets: models' keys and tools' secrets, by variable.
        load_model: gives the model's constructor; run in a thread, for it may import much.
        take: gets the attempt, and it again when its deadline may have moved; by default that of this pod's Job.
        load_tools: gives the constructor of an agent's tools; only called where an agent has some.
        renderer: renders the step's templates; by default in this pod.
        models: gives what connects to models, instead of ``load_model``.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        secrets: Mapping[str, str],
        load_model: Callable[[], MakeModel] = load_model_seam,
        take: Callable[[], Awaitable[TakeAnswer]] | None = None,
        load_tools: LoadTools = load_tool_box,
        renderer: Renderer | None = None,
        models: Callable[[], Awaitable[ConnectModel]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._secrets = secrets
        self._models = models or (lambda: _loaded(load_model))
        self._load_tools = load_tools
        self._take = take or gateway.take
        self._renderer = renderer or InThread()
        self._work: Turn | ToolStepRun | None = None
        self._deadline = datetime.max.replace(tzinfo=UTC)
        self.committing = False
        """The outcome is known and on its way to the store: better not to interrupt it now."""

    async def run(self) -> None:
        """Run the attempt and commit its outcome, whatever it is.

        Raises:
            StopRunning: told to stop; the store holds what there is to hold.
            NotAdmitted, Rejected: no outcome could be committed.
        """
        # Before it is known whether a model will be asked: mostly one is, and the import takes as long as the rest.
        loading = asyncio.ensure_future(self._models())
        try:
            taken = await self._take()
            ABOUT.set(_names(taken))
            log.info("attempt taken")
            body = await self._outcome(taken, loading)
            self.committing = True
            await self._commit(taken.attempt, body)
            log.info("outcome committed", extra=_told(body))
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
            if self._work is not None:
                await self._work.close()

    def wind_down(self) -> float:
        """Return how many seconds it may still take: an outcome on its way is worth waiting for.

        A half-done attempt is not: another one repeats it.
        """
        return COMMIT_GRACE_SECONDS if self.committing else 0.0

    async def _outcome(self, taken: TakeAnswer, loading: Awaitable[ConnectModel]) -> FinishBody | PauseBody:
        try:
            return await self._within_deadline(taken, loading)
        except StepFailure as failure:
            return self._failed(failure)
        except TooLarge as error:
            message = f"{taken.request.path} is too large to be stored: {error}"
            return self._failed(StepFailure(Reason.RESULT_TOO_LARGE, message, definite=True))
        except Rejected as error:
            message = f"the gateway does not understand this runner: {error}"
            return self._failed(StepFailure(Reason.ERROR, message, definite=True))
        except (StopRunning, NotAdmitted):
            raise
        except Exception as error:
            log.exception("the runner failed")
            message = f"the runner failed: {type(error).__name__}; its log has the details"
            return self._failed(StepFailure(Reason.ERROR, message))

    async def _within_deadline(
        self, taken: TakeAnswer, loading: Awaitable[ConnectModel]
    ) -> FinishBody | PauseBody:
        self._deadline = taken.deadline
        await self._check_deadline()
        means = Means(
            self._gateway, self._secrets, loading, self._load_tools, self._remaining, self._renderer
        )
        match taken.request:
            case ToolRequest() as request:
                self._work = ToolStepRun(taken, request, means)
            case PromptRequest() as request:
                self._work = Turn(taken, request, means)
        work = asyncio.create_task(self._work.run())
        try:
            while True:
                await asyncio.wait({work}, timeout=self._left())
                if work.done():
                    return await work
                await self._check_deadline()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _check_deadline(self) -> None:
        """Ask, once the deadline is over, whether it has moved: it does when store or operator were away.

        Raises:
            StepFailure: StepTimeout: it has not.
        """
        if self._left() > 0:
            return
        self._deadline = (await self._take()).deadline
        if self._left() <= 0:
            raise StepFailure(Reason.STEP_TIMEOUT, "the step's timeout struck before it was done")
        log.info("the deadline has moved", extra={"deadline": self._deadline.isoformat()})

    async def _commit(self, attempt: int, body: FinishBody | PauseBody) -> None:
        """Commit the outcome; if it is refused for its form, commit that as a failure."""
        try:
            if isinstance(body, PauseBody):
                await self._gateway.pause(attempt, body)
            else:
                await self._gateway.finish(attempt, body)
        except TooLarge as error:
            message = f"the step's result is too large to be stored: {error}"
            failure = StepFailure(Reason.RESULT_TOO_LARGE, message, definite=True)
        except Rejected as error:
            if isinstance(body, FinishBody) and body.outcome == "Failed":
                raise
            message = f"the gateway does not take the step's outcome: {error}"
            failure = StepFailure(Reason.ERROR, message, definite=True)
        else:
            return
        await self._gateway.finish(attempt, self._failed(failure))

    def _failed(self, failure: StepFailure) -> FinishBody:
        log.warning("the attempt failed", extra={"reason": failure.reason, "why": failure.message})
        return FinishBody(
            outcome="Failed",
            reason=failure.reason,
            message=failure.message,
            definite=failure.definite,
            retry_after=failure.retry_after,
            usage=self._spent,
        )

    @property
    def _spent(self) -> Usage:
        return self._work.spent if self._work else Usage()

    def _remaining(self) -> float:
        """Seconds until the attempt's deadline, as it was last told."""
        return (self._deadline - self._gateway.now()).total_seconds()

    def _left(self) -> float:
        """Seconds until the runner itself does something about the deadline."""
        return self._remaining() + DEADLINE_GRACE.total_seconds()


async def _loaded(load_model: Callable[[], MakeModel]) -> ConnectModel:
    return in_thread(await in_daemon_thread(load_model))


def _told(body: FinishBody | PauseBody) -> dict[str, object]:
    if isinstance(body, PauseBody):
        return {"outcome": "Paused", "calls": len(body.calls)}
    return {"outcome": body.outcome, "reason": body.reason}


def _names(taken: TakeAnswer) -> dict[str, object]:
    return {
        "task": taken.request.task.name,
        "namespace": taken.request.task.namespace,
        "step": taken.request.step,
        "attempt": taken.attempt,
        "number": taken.number,
    }
