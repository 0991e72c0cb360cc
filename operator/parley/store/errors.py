"""What the store refuses, and why. Each class says what its catcher must do."""

from collections.abc import Sequence


class StoreError(Exception):
    """Base of everything the store raises on purpose."""


class StoreUnavailable(StoreError):
    """The database cannot be used now: away, restarting, full or without its schema. Try again later."""


class SchemaMissing(StoreUnavailable):
    """The database lacks Parley's tables: not migrated yet, or an empty one in the place of the right one."""


class Fenced(StoreError):
    """Another leader has raised the epoch: nothing was written. Read the Lease again, raise again or exit."""


class OtherHolder(StoreError):
    """Another process holds the attempt (409): the caller must stop and write nothing more."""


class Stopped(StoreError):
    """The attempt is closed, or its task is gone or ended (410): the caller must stop and write nothing more.

    Attributes:
        reason: what stopped it, in one word: Cancelled, Lost, TimedOut, SessionDeleted, Gone …
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"The attempt was stopped: {reason}.")
        self.reason = reason


class ResultTooLarge(StoreError):
    """A value is larger than the store takes (413). The message names the value, its size and the limit."""


class NotAllowed(StoreError):
    """The runner asks for what it may not do (422), such as a call that nobody has approved. Nothing was written."""


class KeyReused(StoreError):
    """An idempotency key came again with another body (409)."""

    def __init__(self, key: str) -> None:
        super().__init__(f"The idempotency key {key!r} was used for another body before: use a new key.")


class SessionNotReady(StoreError):
    """The session cannot be spoken in yet, as the operator has not taken it in (503). Try again soon."""


class SessionOver(StoreError):
    """The session is spoken in no more (409).

    Attributes:
        reason: its state, or Gone.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"The Session takes no more messages: it is {reason}.")
        self.reason = reason


class ContextChanged(StoreError):
    """A key of the context that was to be changed was changed by others (409). Nothing was written."""

    def __init__(self, keys: Sequence[str], version: int) -> None:
        named = ", ".join(keys[:10])
        super().__init__(f"Others have changed {named} meanwhile; the context is of version {version} now.")


class TranscriptConflict(StoreError):
    """The session holds another conversation than the one to be imported (409). Nothing was written."""

    def __init__(self, what: str) -> None:
        super().__init__(f"The Session holds another conversation: {what}. Import into a new Session.")
