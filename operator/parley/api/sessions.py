"""Sessions over HTTP: made, listed, changed, and their context."""

from typing import Annotated, Self

from pydantic import Field, JsonValue, StringConstraints, model_validator

from parley.api.common import ApiBody, ApiModel, ObjectMetadata
from parley.resources.common import DNS_SUBDOMAIN
from parley.resources.session import SessionSpec, SessionState, SessionStatus, StatusText
from parley.resources.session_limits import Retention, SessionLimits

MAX_PAGE = 200
DEFAULT_PAGE = 50
MAX_CONTEXT_CHANGES = 256

SessionNameField = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=DNS_SUBDOMAIN)]
LabelKey = Annotated[
    str,
    StringConstraints(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    ),
]
LabelValue = Annotated[
    str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")
]


class SessionView(ApiModel):
    """A Session as Kubernetes holds it."""

    metadata: ObjectMetadata
    spec: SessionSpec | None = Field(
        default=None, description="absent where this gateway cannot read it: a newer version wrote it"
    )
    status: SessionStatus


class SessionList(ApiModel):
    """A page of Sessions."""

    items: list[SessionView]
    next_page_token: str | None = Field(
        default=None, description="more may follow: ask again with it as pageToken, and the same filters"
    )


class CreateSession(ApiBody):
    """A Session to be made."""

    name: SessionNameField | None = Field(default=None, description="default: one is made up")
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(default_factory=dict)
    spec: SessionSpec = Field(description="as in a manifest; clearHistory is not taken here")

    @model_validator(mode="after")
    def _no_history_yet(self) -> Self:
        if self.spec.clear_history is not None:
            raise ValueError("spec.clearHistory: a new Session has no history; set it later, with kubectl")
        return self


class UpdateSession(ApiBody):
    """Changes of a Session; what is left out stays."""

    desired_state: SessionState | None = None
    labels: Annotated[dict[LabelKey, LabelValue | None], Field(max_length=64)] | None = Field(
        default=None, description="by key; null removes one"
    )
    metadata: (
        Annotated[dict[str, Annotated[str, StringConstraints(max_length=4096)] | None], Field(max_length=64)]
        | None
    ) = Field(default=None, description="of the spec, by key; null removes one")
    situation: Annotated[str, StringConstraints(max_length=16_384)] | None = None
    system_template: Annotated[str, StringConstraints(max_length=32_768)] | None = None
    limits: SessionLimits | None = None
    retention: Retention | None = None
    auto_run_tools: bool | None = None
    status_text: StatusText | None = None
    resource_version: (
        Annotated[str, StringConstraints(min_length=1, max_length=64, pattern="^[0-9]+$")] | None
    ) = Field(default=None, description="of the Session as it was read: 409 if it was changed since")

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set - {"resource_version"}:
            raise ValueError("name at least one field to change")
        return self


class ContextView(ApiModel):
    """What the session knows: what templates read as ``session.context``."""

    context: dict[str, JsonValue]
    version: Annotated[int, Field(ge=0)] = Field(description="rises with every change")


ContextKey = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class UpdateContext(ApiBody):
    """Changes of the context, by key; others' changes of other keys stay."""

    changes: Annotated[dict[ContextKey, JsonValue], Field(min_length=1, max_length=MAX_CONTEXT_CHANGES)] = (
        Field(description="null removes a key")
    )
    version: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = Field(
        default=None,
        description="of the context that was read: 409 if a key to be changed has become something else since; "
        "default: write in any case",
    )
