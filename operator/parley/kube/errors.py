"""What an API server, or the way to it, can answer other than success."""


class KubeError(Exception):
    """The API server refused a request.

    Attributes:
        status: HTTP status; 0 when no answer came.
        reason: The ``reason`` of the API server's Status object, such as ``Forbidden``.
        message: The API server's sentence.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} ({self.status} {self.reason})"


class NotFound(KubeError):
    """404: the object, or the kind, does not exist."""


class AlreadyExists(KubeError):
    """409 on create: an object of that name is there already."""


class Conflict(KubeError):
    """409: the object is not the one meant: its resourceVersion moved or its uid differs."""


class Forbidden(KubeError):
    """403: by RBAC, a quota, admission, or because the namespace is being deleted."""


class Invalid(KubeError):
    """400 or 422: the API server rejects what was sent; the same body never succeeds."""


class TooLarge(Invalid):
    """The object is larger than the API server or its etcd takes."""


class KubeUnavailable(KubeError):
    """Try again later: no connection, no answer in time, 429 or a server error.

    Attributes:
        retry_after: Seconds the API server asked to wait, if it did.
    """

    def __init__(self, status: int, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(status, reason, message)
        self.retry_after = retry_after


# Server-side apply answers 500 without a reason to a body that does not fit the schema; it never will by waiting.
_NOT_TYPED = "failed to create typed patch object"
# etcd's limit of a request (1.5 MiB by default), and that of the connection to it: both come as 500.
_TOO_LARGE_FOR_ETCD = ("etcdserver: request is too large", "trying to send message larger than max")


def error_for(status: int, reason: str, message: str, *, retry_after: float | None = None) -> KubeError:
    """The error for an answer, by HTTP status and, where that is ambiguous, by the Status object's reason."""
    if status == 500 and message.startswith(_NOT_TYPED):
        return Invalid(status, reason, message)
    if status == 413 or (status == 500 and any(words in message for words in _TOO_LARGE_FOR_ETCD)):
        return TooLarge(status, reason, message)
    if status == 429 or status >= 500 or status == 0:
        return KubeUnavailable(status, reason, message, retry_after=retry_after)
    if status == 409:
        return (AlreadyExists if reason == "AlreadyExists" else Conflict)(status, reason, message)
    by_status: dict[int, type[KubeError]] = {400: Invalid, 403: Forbidden, 404: NotFound, 422: Invalid}
    return by_status.get(status, KubeError)(status, reason, message)
