"""The one Jinja2 environment, and reading a template's source with it.

``parse`` never evaluates anything and may run anywhere. Compiling does evaluate (Jinja2 folds constants, so
that ``{{ 'a' * 10**9 }}`` takes its gigabyte while it is compiled), so it is part of rendering.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateRuntimeError, UndefinedError
from jinja2.filters import make_attrgetter  # pyright: ignore[reportUnknownVariableType]
from jinja2.runtime import Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing, pass_environment
from jinja2.visitor import NodeTransformer

from parley.templates.errors import TemplateError
from parley.templates.values import as_json, as_text, compact_json

if TYPE_CHECKING:
    from pydantic import JsonValue

MAX_SOURCE = 65_536
"""Characters of a template."""
_CONCAT = "_concat"
_ENCODE = "_percent_encode"


class MissingNameError(UndefinedError):
    """A template uses a name that does not exist.

    Attributes:
        holder: what was asked for it; ``missing`` for the scope itself.
        name: the key, attribute or index.
    """

    def __init__(self, holder: object, name: object, message: str) -> None:
        super().__init__(message)
        self.holder = holder
        self.name = name


class _StrictName(StrictUndefined):
    """An undefined name that says, once used, where it was looked for."""

    __slots__ = ()

    def __init__(
        self,
        hint: str | None = None,
        obj: object = missing,
        name: str | None = None,
        exc: type[TemplateRuntimeError] = UndefinedError,
    ) -> None:
        if exc is UndefinedError:
            exc = cast("type[TemplateRuntimeError]", partial(MissingNameError, obj, name))
        super().__init__(hint, obj, name, exc)


class _Environment(ImmutableSandboxedEnvironment):
    """On mappings ``.name`` is the key and nothing else; there is no way to other templates."""

    def getattr(self, obj: object, attribute: str) -> object:
        if isinstance(obj, Mapping):
            return self.getitem(cast("Mapping[object, object]", obj), attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        if not isinstance(obj, Mapping):
            return super().getitem(obj, cast("str", argument))
        try:
            return cast("Mapping[object, object]", obj)[argument]
        except (LookupError, TypeError):
            return self.undefined(obj=obj, name=cast("str", argument))


class _ConcatAsText(NodeTransformer):
    """``a ~ b`` joins what values look like in a text; Jinja2 would write Python's ``True`` and ``None``."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja2 looks methods up by node
        self.generic_visit(node)
        values = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(values, _CONCAT, [], [], None, None, lineno=node.lineno)


class _PercentEncoded(NodeTransformer):
    """Whatever is put into the text is percent-encoded; what macros and ``set`` blocks make, once it is put in."""

    def visit_Output(self, node: nodes.Output) -> nodes.Output:  # noqa: N802 - Jinja2 looks methods up by node
        node.nodes = [
            piece
            if isinstance(piece, nodes.TemplateData)
            else nodes.Filter(piece, _ENCODE, [], [], None, None, lineno=piece.lineno)
            for piece in node.nodes
        ]
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:  # noqa: N802
        return node

    def visit_AssignBlock(self, node: nodes.AssignBlock) -> nodes.AssignBlock:  # noqa: N802
        return node

    def visit_FilterBlock(self, node: nodes.FilterBlock) -> nodes.Output:  # noqa: N802
        raise _not_in_a_url(node, "filter")

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Output:  # noqa: N802
        raise _not_in_a_url(node, "call")


def _not_in_a_url(node: nodes.Node, block: str) -> TemplateSyntaxError:
    return TemplateSyntaxError(f"a {block} block has no place in a url", node.lineno)


def _percent_encode(value: object) -> str:
    return quote(_finalize(value), safe="")


def _concat(values: Iterable[object]) -> str:
    return "".join(map(as_text, values))


@pass_environment
def _join(
    environment: _Environment, value: Iterable[object], d: str = "", attribute: str | int | None = None
) -> str:
    if attribute is not None:
        value = map(make_attrgetter(environment, attribute), value)
    return as_text(d).join(map(as_text, value))


def _tojson(value: object, indent: int | None = None) -> str:

    return (
        json.dumps(as_json(value), indent=indent, ensure_ascii=False)
        if indent
        else compact_json(as_json(value))
    )


def _finalize(value: object) -> str:
    if isinstance(value, Undefined):
        return str(value)  # raises, and says what is undefined
    return as_text(value)


def _environment() -> _Environment:
    environment = _Environment(
        undefined=_StrictName, autoescape=False, keep_trailing_newline=True, finalize=_finalize, cache_size=0
    )
    environment.globals.pop("lipsum")
    filters = cast("dict[str, Callable[..., str]]", environment.filters)
    filters.update(
        {_CONCAT: _concat, _ENCODE: _percent_encode, "join": _join, "string": as_text, "tojson": _tojson}
    )
    return environment


ENVIRONMENT = _environment()


def parse(source: str, path: str) -> nodes.Template:
    """Read a template; nothing is evaluated.

    Raises:
        TemplateError: it is no template.
    """
    if len(source) > MAX_SOURCE:
        raise TemplateError(
            path, f"the template has {len(source)} characters; at most {MAX_SOURCE} are allowed"
        )
    try:
        return ENVIRONMENT.parse(source)
    except TemplateSyntaxError as error:
        raise TemplateError(path, in_line(source, error.lineno, f"{error.message}")) from None
    except RecursionError:
        raise TemplateError(path, "the template is nested too deeply") from None
    except ValueError as error:  # a number of thousands of digits
        raise TemplateError(path, f"{error}") from None


def in_line(source: str, line: int | None, message: str) -> str:
    """The message, with the line where the template has several."""
    return f"line {line}: {message}" if line and "\n" in source.rstrip("\n") else message


def single_expression(template: nodes.Template) -> nodes.Expr | None:
    """The expression, if the template is exactly one ``{{ expression }}``."""
    if (
        len(template.body) == 1
        and isinstance(output := template.body[0], nodes.Output)
        and len(output.nodes) == 1
    ):
        expression = output.nodes[0]
        return None if isinstance(expression, nodes.TemplateData) else expression
    return None


def with_text_concat(template: nodes.Template) -> nodes.Template:
    """The template, its ``~`` joining values as they look in a text."""
    return cast("nodes.Template", _ConcatAsText().visit(template))


def percent_encoded(template: nodes.Template) -> nodes.Template:
    """The template, whatever it puts into its text percent-encoded.

    Raises:
        TemplateSyntaxError: it has a block whose text would get around that.
    """
    return cast("nodes.Template", _PercentEncoded().visit(template))


def scope_path(scope: Mapping[str, JsonValue], holder: object) -> str | None:
    """Where in the scope a list or mapping stands, such as ``steps.classify.output``; None: nowhere."""
    pending: list[tuple[str, JsonValue]] = list(scope.items())
    for path, value in pending:  # grows while it is walked: breadth first
        if value is holder:
            return path
        if isinstance(value, dict):
            pending += [
                (f"{path}.{key}", child) for key, child in value.items() if isinstance(child, (dict, list))
            ]
        elif isinstance(value, list):
            pending += [(f"{path}[{index}]", child) for index, child in enumerate(value)]
    return None
