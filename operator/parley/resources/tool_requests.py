"""The tools that send requests: HTTP and MCP, their urls, headers and timeouts."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, JsonValue
from pydantic.fields import FieldInfo

from parley.resources.common import (
    DURATION,
    MAP_BY_NAME,
    MAX_TEMPLATE,
    ResourceModel,
    SecretKeyRef,
    parse_duration,
    rule,
    rules,
)

MAX_TOOL_TIMEOUT = timedelta(minutes=10)
"""Longest timeout of a call that runs in the runner's pod: http and mcp."""
ONE_HEADER_VALUE = "a header has exactly one of value and valueFrom"
OWN_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "idempotency-key")
"""Headers that are Parley's to set, in lower case."""
OWN_HEADER = (
    "Parley sets the headers Host, Content-Length, Transfer-Encoding, Connection and Idempotency-Key itself"
)

# Go's and Python's regular expressions read both alike. What a model says must never choose a host, and what stands
# before an @ would be a secret in plain sight.
_HOST = r"https?://[^\s/?#@{}\\]+"
BAD_TEMPLATE_URL = (
    "must begin with http:// or https:// and a host, both written out, without a user name; templates may stand only "
    "after the / or ? behind the host"
)
BAD_LITERAL_URL = "must be http:// or https://, a host and a path, without a user name; it is no template"
TOO_PATIENT = "must be longer than zero and at most 10m"


def _url(pattern: str, message: str) -> FieldInfo:
    """Say in the CRD what a url looks like."""
    return Field(
        min_length=1, max_length=4096, json_schema_extra=rules(rule(f"self.matches(r'^{pattern}$')", message))
    )


def _checked_by(pattern: str, message: str) -> AfterValidator:
    def check(url: str) -> str:
        if not re.fullmatch(pattern, url):
            raise ValueError(message)
        return url

    return AfterValidator(check)


def _check_timeout(text: str) -> str:
    if parse_duration(text) > MAX_TOOL_TIMEOUT:
        raise ValueError(TOO_PATIENT)
    return text


_TEMPLATE = _HOST + r"([/?][^\r\n]*)?", BAD_TEMPLATE_URL
_LITERAL = _HOST + r"([/?][^\s{}]*)?", BAD_LITERAL_URL
TemplateUrl = Annotated[str, _url(*_TEMPLATE), _checked_by(*_TEMPLATE)]
LiteralUrl = Annotated[str, _url(*_LITERAL), _checked_by(*_LITERAL)]
CallTimeout = Annotated[
    str,
    Field(
        max_length=32,
        pattern=DURATION,
        json_schema_extra=rules(
            rule("duration(self) > duration('0s') && duration(self) <= duration('10m')", TOO_PATIENT)
        ),
    ),
    AfterValidator(_check_timeout),
]


class HeaderSource(ResourceModel):
    """Where a header's value comes from."""

    secret_key_ref: SecretKeyRef = Field(description="A key of a Secret, whose value is the whole header's.")


class HttpHeader(ResourceModel):
    """A header of a request."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("has(self.value) != has(self.valueFrom)", ONE_HEADER_VALUE),
            rule(
                f"!(self.name.lowerAscii() in {list(OWN_HEADERS)})",
                OWN_HEADER,
                field=".name",
                reason="FieldValueForbidden",
            ),
        ),
    )

    name: str = Field(
        min_length=1,
        max_length=256,
        pattern="^[-!#$%&'*+.^_`|~A-Za-z0-9]+$",
        description="Name of the header.",
    )
    value: Annotated[str, Field(max_length=MAX_TEMPLATE)] | None = Field(
        default=None, description="Its value: a template. Secrets go by valueFrom."
    )
    value_from: HeaderSource | None = Field(default=None, description="Take the value from a Secret.")


Headers = Annotated[list[HttpHeader], Field(max_length=32, json_schema_extra=MAP_BY_NAME)]


class HttpTool(ResourceModel):
    """One HTTP request for each call."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = Field(
        default="GET", description="The request's method. Default: GET."
    )
    url: TemplateUrl = Field(
        description="Where the request goes. Scheme and host are written out; the rest is a template, and what it puts "
        'in is percent-encoded, such as "http://orders/orders/{{ arguments.number }}".'
    )
    headers: Headers = Field(default_factory=list[HttpHeader], description="Headers of the request.")
    body: JsonValue = Field(
        default=None,
        description="The request's body: any JSON, whose strings are templates. Default: POST, PUT and PATCH send the "
        "arguments, the others nothing.",
    )
    timeout: CallTimeout = Field(
        default="10s", description="How long the request may take, at most 10m. Default: 10s."
    )
    allow_link_local: bool = Field(
        default=False,
        description="True: link-local addresses may be asked, the cloud's metadata among them. Default: they are "
        "refused.",
    )


class McpTool(ResourceModel):
    """The tools of a server that speaks the Model Context Protocol (streamable HTTP)."""

    url: LiteralUrl = Field(description="Where the server is, such as http://tickets/mcp; not a template.")
    headers: Headers = Field(
        default_factory=list[HttpHeader],
        description="Headers of every request to the server. Templates know no arguments here.",
    )
    tool_names: (
        Annotated[
            list[Annotated[str, Field(min_length=1, max_length=128, pattern="^[-_./A-Za-z0-9]+$")]],
            Field(min_length=1, max_length=64, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = Field(
        default=None,
        description="Which of the server's tools the model may call; it sees each as <name>_<tool>. Default: all it "
        "lists.",
    )
    timeout: CallTimeout = Field(
        default="30s", description="How long a call may take, at most 10m. Default: 30s."
    )
    allow_link_local: bool = Field(
        default=False,
        description="True: the server may have a link-local address. Default: it is refused.",
    )
