"""How an attempt fails: the reason and the sentence that the task's status will show."""

from urllib.parse import urlsplit

from parley.resources.agent import ModelEndpoint
from parley.resources.common import shorten
from parley.resources.reasons import Reason

DEFAULT_URLS = {
    "OpenAI": "https://api.openai.com/v1",
    "Anthropic": "https://api.anthropic.com",
    "Google": "https://generativelanguage.googleapis.com",
}
"""Where each provider's own API is."""
MAX_MESSAGE_BYTES = 1024
"""Longest failure message; also what a container's termination message may use of its 4 KiB."""


class StepFailure(Exception):
    """The attempt has failed and that is its outcome.

    Attributes:
        reason: why, in one word of the API.
        message: a sentence for people, at most 1 KiB; no secret is in it.
        definite: the same would happen again, so no retry is worth it.
        retry_after: seconds that the model's server asked to wait.
    """

    def __init__(
        self, reason: Reason, message: str, *, definite: bool = False, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = shorten(message, MAX_MESSAGE_BYTES)
        self.definite = definite
        self.retry_after = retry_after


def model_label(spec: ModelEndpoint) -> str:
    """Name a model and its server for a message: host and port, never a URL's credentials."""
    url = urlsplit(spec.base_url or DEFAULT_URLS[spec.provider])
    return f"{spec.name} at {url.hostname or '?'}" + (f":{url.port}" if url.port else "")
