"""What all bodies share: the base models, bounded types, and an object's metadata."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from parley.resources.common import Timestamp

IDEMPOTENCY_HEADER = "Idempotency-Key"
USER_HEADER = "Parley-User"
REQUEST_ID_HEADER = "X-Request-ID"

MAX_IDEMPOTENCY_KEY = 128
MAX_USER_ID = 256

JsonObject = dict[str, JsonValue]


class ApiModel(BaseModel):
    """Base of every answer: camelCase in JSON, snake_case in Python.

    Unknown fields are ignored: a client reads the answers of a newer gateway.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    def to_json(self) -> JsonObject:
        """As it stands in a body: camelCase, what is unset left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ApiBody(ApiModel):
    """Base of every request's body: an unknown field is refused, for it would be ignored in silence."""

    model_config = ConfigDict(extra="forbid")


class ObjectMetadata(ApiModel):
    """What Kubernetes keeps of an object."""

    name: str
    namespace: str
    uid: str
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None
    generation: int | None = None
    resource_version: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)


PageToken = Annotated[
    str,
    Field(max_length=4096, description="nextPageToken of the page before, asked for with the same filters"),
]
