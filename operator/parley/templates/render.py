"""Render templates in this process.

Nothing here limits time or memory: the operator renders in its evaluator's child, a runner in its own pod.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.runtime import Undefined
from jinja2.utils import missing

from parley.templates.compile import (
    ENVIRONMENT,
    MissingNameError,
    in_line,
    parse,
    percent_encoded,
    scope_path,
    single_expression,
    with_text_concat,
)
from parley.templates.errors import NotJsonError, TemplateError
from parley.templates.values import LIMITS, Limits, as_json, compact_json

if TYPE_CHECKING:
    from pydantic import JsonValue

MAX_URL = 8192
"""Characters of a rendered url."""
_RESULT = "result"
_MAX_KEPT = 16 * 1024
"""Characters of a template that is kept compiled; larger ones are rare, and fill the memory."""
_MAX_NAMES = 12
_MAX_MESSAGE = 300


def render_value(
    value: JsonValue, scope: Mapping[str, JsonValue], path: str, limits: Limits = LIMITS
) -> JsonValue:
    """Render every string in a value; keys stay as they are.

    A string that is exactly one ``{{ expression }}`` becomes that value, never parsed again. Any other becomes
    a text.

    Raises:
        TemplateError: with the path of the string.
    """
    if isinstance(value, str):
        return _render(value, scope, path, limits, as_value=True)
    if isinstance(value, dict):
        return {key: render_value(child, scope, f"{path}.{key}", limits) for key, child in value.items()}
    if isinstance(value, list):
        return [render_value(child, scope, f"{path}[{index}]", limits) for index, child in enumerate(value)]
    return value


def render_text(template: str, scope: Mapping[str, JsonValue], path: str) -> str:
    """Render a template to a text: strings go as they are, all else as compact JSON.

    Raises:
        TemplateError: with the path given.
    """
    return cast("str", _render(template, scope, path, LIMITS, as_value=False))


def render_url(template: str, scope: Mapping[str, JsonValue], path: str) -> str:
    """Render the template of a url: what it puts in is percent-encoded, so it stays within its segment or parameter.

    Scheme and host are the template's own, as ``HttpTool.url`` demands.

    Raises:
        TemplateError: with the path given; also where a segment becomes ``.`` or ``..``, or the url too long.
    """
    url = cast("str", _render(template, scope, path, LIMITS, as_value=False, is_url=True))
    if len(url) > MAX_URL:
        raise TemplateError(path, f"the url has {len(url)} characters; at most {MAX_URL} are allowed")
    # Encoded or not, clients and servers take such a segment for a way up, out of where the template points.
    for segment in url.partition("?")[0].split("/")[3:]:
        if unquote(segment) in {".", ".."}:
            raise TemplateError(
                path, f"the url's path has the segment {unquote(segment)!r}, which is refused"
            )
    return url


def _render(
    source: str,
    scope: Mapping[str, JsonValue],
    path: str,
    limits: Limits,
    *,
    as_value: bool,
    is_url: bool = False,
) -> JsonValue:
    if "{" not in source:
        return source
    prepare = _prepared if len(source) <= _MAX_KEPT else _prepared.__wrapped__
    try:
        prepared = prepare(source, as_value=as_value, is_url=is_url)
        return (_evaluate if prepared.is_expression else _write)(prepared.template, scope, limits)
    except MemoryError:
        raise
    except TemplateError as error:
        raise TemplateError(path, error.message) from None
    except Exception as error:  # noqa: BLE001 - a template can raise whatever Python can
        message = _explain(error, scope)
        line = _line_of(error)
        raise TemplateError(path, in_line(source, line, message)) from None


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A template as it is run; it keeps nothing of what it is run with."""

    template: Template
    is_expression: bool


@lru_cache(maxsize=64)
def _prepared(source: str, *, as_value: bool, is_url: bool) -> _Prepared:
    """Compile a template, which takes far longer than running it; most are used again and again."""
    tree = parse(source, "")
    expression = single_expression(tree) if as_value else None
    if expression is None:
        return _Prepared(_compile(percent_encoded(tree) if is_url else tree), is_expression=False)
    assignment = nodes.Assign(nodes.Name(_RESULT, "store"), expression, lineno=expression.lineno)
    return _Prepared(_compile(nodes.Template([assignment], lineno=1)), is_expression=True)


def _evaluate(template: Template, scope: Mapping[str, JsonValue], limits: Limits) -> JsonValue:
    context = template.new_context(dict(scope))
    for _ in template.root_render_func(context):
        pass
    result = context.vars[_RESULT]
    if isinstance(result, Undefined):
        str(result)  # raises, and says what is undefined
    value = as_json(result, limits.values)
    if len((value if isinstance(value, str) else compact_json(value)).encode()) > limits.result_bytes:
        raise NotJsonError(limits.too_large)
    return value


def _write(template: Template, scope: Mapping[str, JsonValue], limits: Limits) -> str:
    pieces: list[str] = []
    size = 0
    for piece in template.root_render_func(template.new_context(dict(scope))):
        size += len(piece.encode())
        if size > limits.result_bytes:
            raise NotJsonError(limits.too_large)
        pieces.append(piece)
    return "".join(pieces)


def _compile(tree: nodes.Template) -> Template:
    tree = with_text_concat(tree)
    tree.set_environment(ENVIRONMENT)
    return ENVIRONMENT.from_string(tree)


def _explain(error: Exception, scope: Mapping[str, JsonValue]) -> str:
    match error:
        case MissingNameError():
            return _explain_missing(error, scope)
        case TemplateSyntaxError():
            message = f"{error.message}"
        case NotJsonError() | UndefinedError() | SecurityError():
            message = f"{error}"
        case RecursionError():
            message = "the template calls itself too often, or is nested too deeply"
        case OverflowError() | ZeroDivisionError() | TypeError() | ValueError() | SyntaxError():
            message = f"{error}"
        case _:
            message = f"{type(error).__name__}: {error}"
    return message if len(message) <= _MAX_MESSAGE else message[:_MAX_MESSAGE] + "…"


def _explain_missing(error: MissingNameError, scope: Mapping[str, JsonValue]) -> str:
    holder, name = error.holder, error.name
    if holder is missing:
        return f"{name!r} is not defined; a template here knows {_list_names(scope)}"
    where = scope_path(scope, holder) or "the value"
    if isinstance(holder, Mapping):
        known = cast("Mapping[object, object]", holder)
        full = f"{where}.{name}" if isinstance(name, str) else f"{where}[{name!r}]"
        if name in {"items", "keys", "values", "get"}:
            return f"{full} is not defined: on a mapping .{name} means the key; use the filter {where}|items"
        return f"{full} is not defined; {where} has {_list_names(known)}"
    if isinstance(holder, list) and isinstance(name, int):
        return f"{where}[{name}] is not defined; {where} has {len(cast('list[object]', holder))} items"
    return f"{_kind(cast('object', holder))} has no {name!r}"


def _list_names(names: Mapping[object, object] | Mapping[str, object]) -> str:
    words = [str(name)[:64] for name in list(names)[:_MAX_NAMES]]
    if not words:
        return "nothing"
    return ", ".join(words) + (", …" if len(names) > _MAX_NAMES else "")


def _kind(value: object) -> str:
    kinds: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        type(None): "null",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")


def _line_of(error: Exception) -> int | None:
    """The innermost line of the template that was at work."""
    if isinstance(error, TemplateSyntaxError):
        return error.lineno
    line: int | None = None
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template):
            line = template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return line
