"""What the store refuses, and why. Each class says what its catcher must do."""


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
