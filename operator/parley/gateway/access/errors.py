"""What the API server and the store refuse, as a person who asked is told it."""

import logging

from parley.gateway.access.refusal import Refusal, conflict
from parley.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, KubeError, NotFound, TooLarge
from parley.store.errors import (
    ContextChanged,
    KeyReused,
    ResultTooLarge,
    SessionNotReady,
    SessionOver,
    StoreError,
    TranscriptConflict,
)

RETRY_SECONDS = {"Retry-After": "2"}

log = logging.getLogger("parley.gateway")


def of_kubernetes(error: KubeError) -> Refusal:
    """Say what an API server's refusal of the gateway's own request means to the caller."""
    if isinstance(error, TooLarge):
        detail = f"it is larger than the API server takes: {error.message}. Send less."
        return Refusal(413, detail, reason="TooLarge")
    if isinstance(error, Invalid):
        return Refusal(422, f"the API server refuses it: {error.message}", reason="Invalid")
    if isinstance(error, AlreadyExists):
        return conflict(f"{error.message}: choose another name", reason="AlreadyExists")
    if isinstance(error, Conflict):
        return conflict(f"{error.message}: read it again and repeat the change", reason="Conflict")
    if isinstance(error, NotFound):
        return Refusal(404, error.message, reason="NotFound")
    if isinstance(error, Forbidden):
        return _forbidden(error)
    if error.status == 410:
        detail = "the list has changed too much since the first page: begin again without pageToken"
        return Refusal(400, detail, reason="PageTokenExpired", field="pageToken")
    log.warning("the API server did not answer: %s", error)
    detail = "the Kubernetes API server cannot be asked now: repeat the request"
    return Refusal(503, detail, reason="ApiServerUnavailable", headers=RETRY_SECONDS)


def _forbidden(error: Forbidden) -> Refusal:
    if " cannot " not in error.message:
        # A quota or an admission policy of the cluster's: its own words say what to do.
        return Refusal(403, f"the API server refuses it: {error.message}", reason="Forbidden")
    log.error("the gateway lacks a right: %s", error)
    detail = (
        "Parley's gateway may not do this in this namespace: ask whoever runs Parley whether it is one of "
    )
    return Refusal(403, f"{detail}watchNamespaces", reason="NamespaceNotServed")


def of_store(error: StoreError) -> Refusal | None:
    """Say what a refusal of the store means to the caller; None for what only a runner meets."""
    if isinstance(error, KeyReused):
        return conflict(str(error), reason="IdempotencyKeyReused", field="Idempotency-Key")
    if isinstance(error, SessionNotReady):
        return Refusal(503, f"{error} Repeat the request.", reason="SessionNotReady", headers=RETRY_SECONDS)
    if isinstance(error, SessionOver):
        return conflict(f"{error} Make another Session.", reason="SessionOver")
    if isinstance(error, ContextChanged):
        return conflict(f"{error} Read it again.", reason="ContextConflict", field="body.version")
    if isinstance(error, TranscriptConflict):
        return conflict(str(error), reason="TranscriptConflict")
    if isinstance(error, ResultTooLarge):
        return Refusal(413, f"{error} Send less.", reason="TooLarge")
    return None
