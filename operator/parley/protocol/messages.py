"""The runner protocol's bodies (``/runner/v1``). One model per request and answer.

Every call carries ``Authorization: Bearer <projected token>``, ``Parley-Store: <store id>`` and
``Parley-Nonce: <process nonce>``; errors are problem+json (``Problem``).
"""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from parley.protocol.request import ProtocolModel, RunnerRequest
from parley.resources.reasons import Reason

STORE_HEADER = "Parley-Store"
NONCE_HEADER = "Parley-Nonce"
TOKEN_AUDIENCE = "parley"  # noqa: S105 - an audience is no secret
RUNTIME_LABEL = "parley.dev/runtime"
TASK_RUNTIME = "task"
"""The label's value on a Job whose runner stays with its task and takes one attempt after the other."""
POOL_LABEL = "parley.dev/pool"
"""On the pods of a Deployment of warm runners: which attempts they take."""
LIVENESS_PORT = 8082
"""Where a warm runner tells the kubelet that it still turns."""
RUNNER_LIFE_SECONDS = 12 * 3600
"""How long such a runner takes new attempts; then it ends, and the next attempt gets a new one."""

MAX_OUTPUT_BYTES = 1024 * 1024
"""Largest output of a step, as JSON; a larger one is refused with ResultTooLarge."""

MAX_FILE_BYTES = 16 * 1024 * 1024
"""Largest output that a container may leave as a file, and largest list of a fan-out's outputs, as JSON."""
MAX_WAIT_SECONDS = 25
"""Longest time that ``take`` may wait for an attempt to become ready."""

MAX_DELTA_CHARACTERS = 16 * 1024
"""Longest piece of an answer that a runner sends ahead of it."""
MAX_INDEX = 1000
"""Highest number of a round in a step, and of a call in a round."""
MAX_TOKENS = 10**12
"""Most tokens that one response or outcome may count."""
MAX_RETRY_AFTER_SECONDS = 86_400
"""Longest wait that a model's server may ask for; a longer one counts as this."""

Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
EventType = Literal["message", "toolCall", "toolResult", "reply", "state", "summary"]
Role = Literal["user", "assistant"]


class Usage(ProtocolModel):
    """Tokens, as the model's provider counts them."""

    input_tokens: Tokens = 0
    output_tokens: Tokens = 0


class EventDraft(ProtocolModel):
    """An event before it has a sequence number; its id follows from its key, else from its position."""

    type: EventType
    role: Role | None = None
    content: JsonValue = Field(
        description="a message's text, or an object: CallContent, ResultContent, SummaryContent, a state's"
    )
    key: str | None = Field(
        default=None, description="unique in its step: an event whose key the session holds is left out"
    )
    speaker: str | None = Field(
        default=None, description="of a message: name of the user or agent who says it"
    )


class StoredEvent(EventDraft):
    """An event as the session holds it."""

    sequence: int
    time: datetime
    step: str | None = None
    task: str | None = None
    item: int = Field(default=-1, description="-1 without a forEach")
    attempt: int | None = None


class CallContent(ProtocolModel):
    """Content of a ``toolCall`` event."""

    id: str = Field(description="<step>/<item>/<round>/<call>: its result bears the same")
    round: int
    call: int
    tool: str
    arguments: JsonValue = None
    text: str | None = Field(
        default=None, description="on a round's first call: what the model said beside it"
    )


class ResultContent(ProtocolModel):
    """Content of a ``toolResult`` event."""

    id: str
    round: int
    call: int
    tool: str
    result: JsonValue = None
    note: str | None = Field(default=None, description="why there is no result, where the call was not run")


class SummaryContent(ProtocolModel):
    """Content of a ``summary`` event: it stands for these events when a model is shown the conversation."""

    text: str
    ranges: list[tuple[int, int]] = Field(description="sequences, both ends included")


class InputMessage(ProtocolModel):
    """One message of a turn's input, rendered."""

    role: Role
    content: str


class JournalEntry(ProtocolModel):
    """A stored model response (``call`` is -1) or a call of it."""

    round: int
    call: int = -1
    begun: JsonValue = None
    result: JsonValue = None
    done: bool = Field(default=False, description="there is a result, which may be null")
    usage: Usage | None = None


class ReplyEntry(ProtocolModel):
    """A person's answer to a paused call."""

    round: int
    call: int
    choice: str | None = None
    value: JsonValue = None
    message: str | None = None
    by: str | None = Field(default=None, description="None: nobody did in time, and the default counts")


class TakeBody(ProtocolModel):
    """``POST /take``; a Job's pod may leave it out."""

    wait: Annotated[int, Field(ge=0, le=MAX_WAIT_SECONDS)] = Field(
        default=0,
        description="seconds that a runner which takes one attempt after the other waits for its next",
    )
    own: bool = Field(
        default=False, description="of a warm runner: only the attempt that this process has already"
    )


class TakeAnswer(ProtocolModel):
    """``POST /take``: the attempt this pod runs."""

    attempt: int
    number: int
    deadline: datetime
    next_position: int = Field(description="position of the next event this step would append")
    request: RunnerRequest
    outputs: dict[str, JsonValue] = Field(default_factory=dict, description="by step name, for needs_outputs")
    history: list[StoredEvent] = Field(
        default_factory=list[StoredEvent], description="of ended turns, in the order granted"
    )
    input: list[InputMessage] | None = Field(default=None, description="as stored by an earlier attempt")
    journal: list[JournalEntry] = Field(default_factory=list[JournalEntry])
    replies: list[ReplyEntry] = Field(default_factory=list[ReplyEntry])


class InputBody(ProtocolModel):
    """``POST /attempts/{id}/input``."""

    messages: Annotated[list[InputMessage], Field(min_length=1)]
    speaker: str | None = Field(default=None, description="name of the user who says what has role user")
    summary: EventDraft | None = Field(
        default=None, description="a summary event of earlier turns, appended before the messages"
    )


class InputAnswer(ProtocolModel):
    """The turn's messages as first stored: a later attempt gets back what the first one rendered."""

    messages: list[InputMessage]
    next_position: int


class ResponseBody(ProtocolModel):
    """``PUT /attempts/{id}/journal/{round}``: a response that contains calls, before its calls run."""

    response: JsonValue
    usage: Usage = Usage()


class CallBody(ProtocolModel):
    """``PUT /attempts/{id}/journal/{round}/calls/{call}``: exactly one of the two; null is a value as any other."""

    begun: JsonValue = None
    result: JsonValue = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("exactly one of begun and result must be given")
        return self


class ContextBody(ProtocolModel):
    """``PUT /attempts/{id}/journal/{round}/calls/{call}/context``: run and journal a call of update_context."""

    changes: dict[str, JsonValue] = Field(
        description="keys to write into the session's context; null removes one"
    )
    version: int | None = Field(
        default=None,
        description="of the context the model has seen: a key that was changed since by others is refused; "
        "None: write in any case",
    )


class StoredAnswer(ProtocolModel):
    """What the journal holds: the first write wins."""

    stored: JsonValue
    key: str = Field(description="the journal id, to be sent along as the call's idempotency key")


class DeltaBody(ProtocolModel):
    """``POST /attempts/{id}/deltas``: what a model has said since the last one, for people who watch."""

    round: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    offset: Annotated[int, Field(ge=0, le=MAX_OUTPUT_BYTES)] = Field(
        description="characters of this round's text before it; less than was sent already: the text begins anew "
        "there, for the model was asked again"
    )
    text: Annotated[str, Field(min_length=1, max_length=MAX_DELTA_CHARACTERS)]


class DeltaAnswer(ProtocolModel):
    """Whether anybody watches: a runner that hears no stops sending, and asks again after a while."""

    wanted: bool


class FinishBody(ProtocolModel):
    """``POST /attempts/{id}/finish``."""

    outcome: Literal["Succeeded", "Failed"]
    output: JsonValue = None
    events: list[EventDraft] = Field(default_factory=list[EventDraft])
    usage: Usage = Usage()
    reason: Reason | None = Field(default=None, description="one of the API's reasons: it becomes the step's")
    message: str | None = None
    definite: bool = False
    retry_after: Annotated[int, Field(ge=0, le=MAX_RETRY_AFTER_SECONDS)] | None = Field(
        default=None, description="seconds, when the model's server asked for it"
    )


class FinishAnswer(ProtocolModel):
    """The sequences the attempt's last events got; None when it appended none."""

    first_sequence: int | None = None
    last_sequence: int | None = None


class PausedCall(ProtocolModel):
    """A call that waits: for a person, for a Job, or for a child Task."""

    round: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    call: Annotated[int, Field(ge=0, le=MAX_INDEX)]
    kind: Literal["Approval", "Container", "Task"]
    tool: str
    arguments: JsonValue


class PauseBody(ProtocolModel):
    """``POST /attempts/{id}/pause``."""

    calls: Annotated[list[PausedCall], Field(min_length=1)]
    events: list[EventDraft] = Field(default_factory=list[EventDraft])
    usage: Usage = Usage()


class PauseAnswer(ProtocolModel):
    """One wait id per call, in the order of the calls."""

    waits: list[str]


class InputFileAnswer(ProtocolModel):
    """``GET /input``: what the input file of a container is rendered from, and with."""

    path: str = Field(description="the field's, such as spec.steps[1].container.inputFile")
    template: JsonValue
    scope: dict[str, JsonValue]


class FileProblem(ProtocolModel):
    """``PUT /output/problem``: why a container's output file cannot be sent."""

    problem: Annotated[str, Field(min_length=1, max_length=1024)]
    too_large: bool = False


class FileAnswer(ProtocolModel):
    """What the store now holds: the file's content, or why there is none. The first call of either kind counts."""

    problem: str | None = None


class Problem(ProtocolModel):
    """RFC 9457 problem details, with what a runner must do."""

    title: str
    status: int
    detail: str = ""
    stop: bool = False
    reason: str | None = None
