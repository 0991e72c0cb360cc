"""The headers of a tool's requests: secrets from the environment, the rest rendered."""

from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from parley.resources.tools import HttpHeader
from parley.runner.tools.errors import ToolProblem
from parley.runner.tools.secrets import MissingSecret, ToolSecrets
from parley.templates.render import render_text

MAX_HEADER_BYTES = 8192
_OWN = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"}
)
"""What frames a request is not for a manifest to say: two lengths are two readings of it."""


def render_headers(
    headers: Sequence[HttpHeader], scope: Mapping[str, JsonValue], secrets: ToolSecrets, path: str
) -> dict[str, str]:
    """Render headers to what is sent.

    Args:
        headers: as they stand in the Agent.
        scope: what their templates know.
        secrets: where the others' values are.
        path: of the field that holds them, for messages.

    Raises:
        ToolProblem: a value cannot be had or sent; the text begins with the header's path.
        TemplateError: a template is wrong.
    """
    rendered: dict[str, str] = {}
    for index, header in enumerate(headers):
        where = f"{path}[{index}] ({header.name})"
        if header.name.lower() in _OWN:
            raise ToolProblem(f"{where} is set by Parley itself: remove it from the Agent")
        if header.value_from is not None:
            try:
                rendered[header.name] = secrets.value(header.value_from.secret_key_ref)
            except MissingSecret as error:
                raise ToolProblem(f"{where}: {error}") from None
            continue
        value = render_text(header.value or "", scope, f"{path}[{index}].value").strip()
        if not value.isascii() or not value.isprintable():
            raise ToolProblem(f"{where} would be {value[:64]!r}: a header holds printable ASCII only")
        if len(value) > MAX_HEADER_BYTES:
            raise ToolProblem(f"{where} would have {len(value)} bytes, more than {MAX_HEADER_BYTES}")
        rendered[header.name] = value
    return rendered


def has_secret(headers: Sequence[HttpHeader]) -> bool:
    """Whether any of the headers comes from a Secret."""
    return any(header.value_from is not None for header in headers)
