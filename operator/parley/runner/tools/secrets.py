"""The secrets of tools' headers: found in the environment, sent, and never told."""

import base64
import binascii
from collections.abc import Iterable, Mapping

from pydantic import JsonValue

from parley.protocol.model_keys import tool_secret_variable
from parley.resources.common import SecretKeyRef
from parley.resources.tools import ToolSpec

HIDDEN = "***"
_SHORTEST = 4
"""Shorter ones are not hidden: they stand in any text."""
_SHORTEST_PART = 8


class MissingSecret(Exception):
    """A header's secret is not there, or cannot be sent; the text says which and what to do."""


class ToolSecrets:
    """The secrets that the headers of some tools name.

    Args:
        tools: all of the agent's: what one server gets may come back from another.
        environment: values by variable (``tool_secret_variable``).
    """

    def __init__(self, tools: Iterable[ToolSpec], environment: Mapping[str, str]) -> None:
        self._values: dict[str, str] = {}
        for tool in tools:
            for header in tool.headers:
                if header.value_from is None:
                    continue
                variable = tool_secret_variable(header.value_from.secret_key_ref)
                if variable in environment:
                    self._values[variable] = environment[variable].strip()
        hidden = {part for value in self._values.values() for part in _telling_parts(value)}
        # The longest first: a part of a secret must not be cut out of the whole.
        self._hidden = sorted(hidden, key=len, reverse=True)

    def value(self, reference: SecretKeyRef) -> str:
        """Return a secret's value as it is sent: without white space around it.

        Raises:
            MissingSecret: it is not there, or no header can hold it.
        """
        value = self._values.get(tool_secret_variable(reference))
        if value is None:
            raise MissingSecret(f"key {reference.key} of Secret {reference.name} is not there: create it")
        if not value or not value.isascii() or not value.isprintable():
            raise MissingSecret(
                f"key {reference.key} of Secret {reference.name} is empty or has characters that no header can hold: "
                "correct it"
            )
        return value

    def hide(self, text: str) -> str:
        """Replace every secret in a text."""
        for secret in self._hidden:
            text = text.replace(secret, HIDDEN)
        return text

    def hide_in(self, value: JsonValue) -> JsonValue:
        """Replace every secret in every text of a value, keys included."""
        if not self._hidden:
            return value
        if isinstance(value, str):
            return self.hide(value)
        if isinstance(value, list):
            return [self.hide_in(item) for item in value]
        if isinstance(value, dict):
            return {self.hide(key): self.hide_in(item) for key, item in value.items()}
        return value


def _telling_parts(value: str) -> set[str]:
    """The secret, and what servers make of it: a token without its scheme, the password of Basic."""
    parts = {value} if len(value) >= _SHORTEST else set[str]()
    scheme, _, token = value.partition(" ")
    token = token.strip()
    if len(token) >= _SHORTEST_PART:
        parts.add(token)
        if scheme.lower() == "basic":
            pair = _decoded(token)
            parts |= {part for part in (pair, pair.partition(":")[2]) if len(part) >= _SHORTEST_PART}
    return parts


def _decoded(token: str) -> str:
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
