"""Objects of Kubernetes as the API shows them."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from parley.api.common import ObjectMetadata
from parley.api.sessions import SessionView
from parley.gateway.access.sessions import read_known
from parley.kube.client import JsonObject
from parley.resources.session import SessionSpec, SessionStatus

ModelT = TypeVar("ModelT", bound=BaseModel)


def session_view(body: JsonObject) -> SessionView:
    """Show a Session."""
    return SessionView(
        metadata=metadata_of(body),
        spec=spec_of(SessionSpec, body),
        status=status_of(SessionStatus, body),
    )


def metadata_of(body: JsonObject) -> ObjectMetadata:
    """Show what Kubernetes keeps of an object, as far as it is of use."""
    return ObjectMetadata.model_validate(body["metadata"])


def spec_of(model: type[ModelT], body: JsonObject) -> ModelT | None:
    """Read a spec; None for one that cannot be read."""
    spec = read_known(model, body.get("spec") or {})
    return None if isinstance(spec, list) else spec


def status_of(model: type[ModelT], body: JsonObject) -> ModelT:
    """Read a status; one that cannot be read is as one that was never written."""
    try:
        return model.model_validate(body.get("status") or {})
    except ValidationError:
        return model()
