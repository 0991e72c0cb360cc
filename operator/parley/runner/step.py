"""One attempt of a prompt step: take, render, input, ask the model, finish."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pydantic import JsonValue

from parley.protocol.messages import (
    MAX_OUTPUT_BYTES,
    EventDraft,
    FinishBody,
    InputBody,
    InputMessage,
    TakeAnswer,
    Usage,
)
from parley.protocol.request import PromptRequest
from parley.resources.reasons import Reason
from parley.runner.chat import ChatMessage, ModelReply
from parley.runner.conversation import conversation
from parley.runner.daemon_thread import in_daemon_thread
from parley.runner.failure import StepFailure
from parley.runner.fallbacks import MakeModel, ModelChain
from parley.runner.gateway_client import GatewayClient, NotAdmitted, Rejected, StopRunning, TooLarge
from parley.runner.prompt import Prompt, render_prompt
from parley.runner.rounds import Rounds

DEADLINE_GRACE = timedelta(seconds=5)
"""The operator closes an attempt at its deadline; the runner gives up only if that has not happened."""
RENDER_SECONDS = 10.0

if TYPE_CHECKING:
    from parley.runner.structured import OutputSchema

log = logging.getLogger(__name__)


def load_model_seam() -> MakeModel:
    """Import the agent library, which takes about a second."""
    from parley.runner.model import LibraryModel  # noqa: PLC0415 - see above

    return LibraryModel


class StepRun:
    """One attempt, from ``take`` to ``finish``.

    Args:
        gateway: where the attempt is taken from and committed to.
        api_keys: the models', by variable.
        load_model: gives the model's constructor; run in a thread, for it may import much.
        take: gets the attempt, and it again when its deadline may have moved; by default that of this pod's Job.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        api_keys: Mapping[str, str],
        load_model: Callable[[], MakeModel] = load_model_seam,
        take: Callable[[], Awaitable[TakeAnswer]] | None = None,
    ) -> None:
        self._gateway = gateway
        self._api_keys = api_keys
        self._load_model = load_model
        self._take = take or gateway.take
        self._rounds: Rounds | None = None
        self._deadline = datetime.max.replace(tzinfo=UTC)
        self.committing = False
        """The outcome is known and on its way to the store: better not to interrupt it now."""

    async def run(self) -> None:
        """Run the attempt and commit its outcome, whatever it is.

        Raises:
            StopRunning: told to stop; the store holds what there is to hold.
            NotAdmitted, Rejected: no outcome could be committed.
        """
        loading = asyncio.create_task(in_daemon_thread(self._load_model))
        try:
            taken = await self._take()
            log.info("attempt taken", extra=_names(taken))
            body = await self._outcome(taken, loading)
            self.committing = True
            await self._commit(taken.attempt, body)
            log.info("outcome committed", extra={"outcome": body.outcome, "reason": body.reason})
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)

    def wind_down(self) -> None:
        """Nothing comes after this attempt anyway."""

    async def _outcome(self, taken: TakeAnswer, loading: Awaitable[MakeModel]) -> FinishBody:
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

    async def _within_deadline(self, taken: TakeAnswer, loading: Awaitable[MakeModel]) -> FinishBody:
        self._deadline = taken.deadline
        await self._check_deadline()
        work = asyncio.create_task(self._success(taken, loading))
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
            raise StepFailure(Reason.STEP_TIMEOUT, "the step's timeout struck before the model had answered")
        log.info("the deadline has moved", extra={"deadline": self._deadline.isoformat()})

    async def _success(self, taken: TakeAnswer, loading: Awaitable[MakeModel]) -> FinishBody:
        request = taken.request
        schema = _output_schema(request)
        prompt = await self._render(taken)
        own = await self._input(taken, prompt)
        window = request.session.context_window if request.session else None
        messages = conversation(prompt.system, taken.history, own, window)
        models = ModelChain(request.agent.model, self._api_keys, await loading, self._remaining)
        try:
            text, output = await self._answer(taken, models, messages, schema)
        finally:
            await models.close()
        _check_size(output, request.path)
        events: list[EventDraft] = []
        if request.history == "Session":
            events = [*self._spoken.events, EventDraft(type="message", role="assistant", content=text)]
        return FinishBody(
            outcome="Succeeded", output=output, events=events, usage=self._spent, message=models.note
        )

    async def _render(self, taken: TakeAnswer) -> Prompt:
        """Render in a thread: a template may loop, and the runner must still hear a SIGTERM."""
        try:
            # Not wait_for: until Python 3.12 that loses a cancellation which comes just as the work is done.
            async with asyncio.timeout(RENDER_SECONDS):
                return await in_daemon_thread(
                    lambda: render_prompt(taken.request, taken.outputs, taken.input)
                )
        except TimeoutError:
            raise StepFailure(
                Reason.TEMPLATE_ERROR,
                f"{taken.request.path}: rendering the templates took longer than {RENDER_SECONDS:.0f} s",
                definite=True,
            ) from None

    async def _input(self, taken: TakeAnswer, prompt: Prompt) -> Sequence[InputMessage]:
        """Store this turn's messages before the model sees them; what an earlier attempt stored wins."""
        if taken.input is not None:
            return taken.input
        if taken.request.history == "None":
            return prompt.messages
        body = InputBody(messages=list(prompt.messages))
        return (await self._gateway.input(taken.attempt, body)).messages

    async def _answer(
        self,
        taken: TakeAnswer,
        models: ModelChain,
        messages: list[ChatMessage],
        schema: "OutputSchema | None",
    ) -> tuple[str, JsonValue]:
        """Get the answer's text and the step's output; with a schema, let the model mend an answer."""

        async def ask(said: Sequence[ChatMessage]) -> ModelReply:
            return await models.ask(said, schema.for_model() if schema else None)

        self._rounds = Rounds(self._gateway, taken.attempt, taken.journal, ask)
        rounds = self._rounds

        async def answer() -> str:
            reply = await rounds.answer(messages)
            _check_ending(reply, taken.request, models)
            return reply.text

        if schema is None:
            text = await answer()
            return text, text
        output = await schema.obtain(answer, messages, lambda: models.label)
        return json.dumps(output, ensure_ascii=False, separators=(",", ":")), output

    async def _commit(self, attempt: int, body: FinishBody) -> None:
        """Commit the outcome; if it is refused for its form, commit that as a failure."""
        try:
            await self._gateway.finish(attempt, body)
        except TooLarge as error:
            message = f"the step's result is too large to be stored: {error}"
            failure = StepFailure(Reason.RESULT_TOO_LARGE, message, definite=True)
        except Rejected as error:
            if body.outcome == "Failed":
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
        return self._rounds.spent if self._rounds else Usage()

    @property
    def _spoken(self) -> Rounds:
        if self._rounds is None:
            raise AssertionError("events are asked for after the answer")
        return self._rounds

    def _remaining(self) -> float:
        """Seconds until the attempt's deadline, as it was last told."""
        return (self._deadline - self._gateway.now()).total_seconds()

    def _left(self) -> float:
        """Seconds until the runner itself does something about the deadline."""
        return self._remaining() + DEADLINE_GRACE.total_seconds()


def _output_schema(request: PromptRequest) -> "OutputSchema | None":
    if request.prompt.output_schema is None:
        return None
    # Its library takes a fifth as long to import as all the rest, and most steps do without.
    from parley.runner.structured import OutputSchema  # noqa: PLC0415

    return OutputSchema(request.prompt.output_schema, f"{request.path}.outputSchema")


def _names(taken: TakeAnswer) -> dict[str, object]:
    return {
        "task": taken.request.task.name,
        "namespace": taken.request.task.namespace,
        "step": taken.request.step,
        "attempt": taken.attempt,
        "number": taken.number,
    }


def _check_ending(reply: ModelReply, request: PromptRequest, models: ModelChain) -> None:
    """Make sure that the model answered in full.

    Raises:
        StepFailure: ModelError: it refused (definite), was cut off, or said nothing.
    """
    model = models.label
    if reply.ending == "refused":
        why = f": {reply.text}" if reply.text else " without saying why"
        raise StepFailure(Reason.MODEL_ERROR, f"model {model} refused to answer{why}", definite=True)
    if reply.ending == "length":
        limit = models.spec.max_output_tokens
        advice = (
            f"agent {request.agent.name} allows {limit}: raise {models.field}.maxOutputTokens or ask for less"
            if limit
            else "ask for less"
        )
        message = f"the answer of model {model} was cut off at its token limit; {advice}"
        raise StepFailure(Reason.MODEL_ERROR, message)
    if not reply.text.strip():
        raise StepFailure(Reason.MODEL_ERROR, f"model {model} gave an empty answer")


def _check_size(output: JsonValue, path: str) -> None:
    size = len(json.dumps(output, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_OUTPUT_BYTES:
        message = f"the output of {path} has {size} bytes as JSON, more than {MAX_OUTPUT_BYTES}"
        raise StepFailure(Reason.RESULT_TOO_LARGE, message, definite=True)
