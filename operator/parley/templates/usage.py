"""What a template mentions, found by reading it; nothing is evaluated."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from jinja2 import nodes
from jinja2.visitor import NodeVisitor
from pydantic import JsonValue

from parley.templates.compile import ENVIRONMENT, in_line, parse
from parley.templates.errors import TemplateError
from parley.templates.fields import Field, TextField

_IMPLICIT = frozenset({"loop", "caller", "varargs", "kwargs", "self", "super"})
"""Names that Jinja2 gives by itself inside loops, macros and blocks."""
_DEFAULT_FILTERS = frozenset({"default", "d"})
_DEFINED_TESTS = frozenset({"defined", "undefined"})


@dataclass(frozen=True, slots=True)
class Mention:
    """A chain of keys below a name, such as ``steps.classify.output.kind``.

    Attributes:
        chain: the name and the keys below it, as far as they are written out.
        line: of the template.
        always: it is used whenever the template is rendered: it stands in no branch, loop or macro, and in no
            ``is defined`` or ``default``.
    """

    chain: tuple[str | int, ...]
    line: int
    always: bool


@dataclass(frozen=True, slots=True)
class Usage:
    """All that a template mentions from outside itself.

    Attributes:
        mentions: in the order they are written.
        guarded: chains the template itself asks for with ``is defined`` or ``default``.
    """

    mentions: tuple[Mention, ...]
    guarded: frozenset[tuple[str | int, ...]]


def read_usage(source: str, path: str) -> Usage:
    """Read a template and list what it mentions.

    Raises:
        TemplateError: the template can never be rendered: its syntax is wrong, a filter or a test does not exist,
            or it wants other templates.
    """
    tree = parse(source, path)
    try:
        reader = _Reader(source, path, _own_names(tree))
        reader.visit(tree)
    except RecursionError:
        raise TemplateError(path, "the template is nested too deeply") from None
    return Usage(tuple(reader.mentions), frozenset(reader.guarded))


def templates_in(fields: Mapping[str, Field]) -> Iterator[tuple[str, str]]:
    """Every string of the fields that may be a template, with its path."""
    for path, field in fields.items():
        if isinstance(field, TextField):
            yield path, field.template
        else:
            yield from _strings(field.template, path)


def mentioned_steps(sources: Iterable[str], steps: Iterable[str]) -> set[str]:
    """Those of the steps (by their names in templates) whose outputs the templates may read.

    All of them, if a template uses ``steps`` in a way that only rendering can follow.

    Raises:
        TemplateError: a template can never be rendered.
    """
    known = set(steps)
    found: set[str] = set()
    for source in sources:
        for mention in read_usage(source, "template").mentions:
            match mention.chain:
                case ("steps", str(name), *_):
                    found.add(name)
                case ("steps",) | ("steps", int(), *_):
                    return known
                case _:
                    pass
    return found & known


def _strings(value: JsonValue, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, child in value.items():
            yield from _strings(child, f"{path}.{key}")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _strings(child, f"{path}[{index}]")


def _own_names(tree: nodes.Template) -> frozenset[str]:
    """Names the template gives itself, anywhere in it, and those that are always there."""
    assigned = {name.name for name in tree.find_all(nodes.Name) if name.ctx in {"store", "param"}}
    macros = {macro.name for macro in tree.find_all(nodes.Macro)}
    return frozenset(assigned | macros | _IMPLICIT | ENVIRONMENT.globals.keys())


class _Reader(NodeVisitor):
    """Walks a template; ``always`` is False below whatever may not be rendered."""

    def __init__(self, source: str, path: str, own: frozenset[str]) -> None:
        self._source = source
        self._path = path
        self._own = own
        self.mentions: list[Mention] = []
        self.guarded: set[tuple[str | int, ...]] = set()

    def visit(self, node: nodes.Node, always: bool = True) -> None:
        match node:
            case nodes.Name() | nodes.Getattr() | nodes.Getitem() if (chain := self._chain(node)) is not None:
                self.mentions.append(Mention(chain, node.lineno, always))
                self._visit_indexes(node, always=always)
            case nodes.Filter() | nodes.FilterBlock() | nodes.Test():
                self._visit_named(node, always=always)
            case nodes.Extends() | nodes.Include() | nodes.Import() | nodes.FromImport():
                raise self._error(node, "a template cannot use other templates")
            case nodes.If() | nodes.CondExpr():
                self.visit(node.test, always)
                for child in node.iter_child_nodes(exclude=("test",)):
                    self.visit(child, False)
            case nodes.For():
                self.visit(node.iter, always)
                for child in node.iter_child_nodes(exclude=("iter",)):
                    self.visit(child, False)
            case nodes.And() | nodes.Or():
                self.visit(node.left, always)
                self.visit(node.right, False)
            case nodes.Macro() | nodes.CallBlock() | nodes.Block():
                for child in node.iter_child_nodes():
                    self.visit(child, False)
            case _:
                for child in node.iter_child_nodes():
                    self.visit(child, always)

    def _visit_named(self, node: nodes.Filter | nodes.FilterBlock | nodes.Test, *, always: bool) -> None:
        if isinstance(node, nodes.Filter) and node.name not in ENVIRONMENT.filters:
            raise self._error(node, f"there is no filter {node.name!r}")
        if isinstance(node, nodes.Test) and node.name not in ENVIRONMENT.tests:
            raise self._error(node, f"there is no test {node.name!r}")
        subject = None if isinstance(node, nodes.FilterBlock) else node.node
        guards = (isinstance(node, nodes.Filter) and node.name in _DEFAULT_FILTERS) or (
            isinstance(node, nodes.Test) and node.name in _DEFINED_TESTS
        )
        if guards and subject is not None and (chain := self._chain(subject)) is not None:
            self.guarded.add(chain)
        for child in node.iter_child_nodes():
            self.visit(child, always and not (guards and child is subject))

    def _visit_indexes(self, node: nodes.Node, *, always: bool) -> None:
        """What stands in the brackets of a chain is not part of it: ``inputs[steps.a.output]``."""
        while isinstance(node, (nodes.Getattr, nodes.Getitem)):
            if isinstance(node, nodes.Getitem) and not isinstance(node.arg, nodes.Const):
                self.visit(node.arg, always)
            node = node.node

    def _chain(self, node: nodes.Node) -> tuple[str | int, ...] | None:
        """The chain a node stands for; None if it does not begin with a name from outside the template."""
        keys: list[str | int | None] = []
        while isinstance(node, (nodes.Getattr, nodes.Getitem)):
            if isinstance(node, nodes.Getattr):
                keys.append(node.attr)
            else:
                value: object = node.arg.value if isinstance(node.arg, nodes.Const) else None
                keys.append(value if isinstance(value, (str, int)) else None)
            node = node.node
        if not isinstance(node, nodes.Name) or node.ctx != "load" or node.name in self._own:
            return None
        chain: list[str | int] = [node.name]
        for key in reversed(keys):
            if key is None:
                break
            chain.append(key)
        return tuple(chain)

    def _error(self, node: nodes.Node, message: str) -> TemplateError:
        return TemplateError(self._path, in_line(self._source, node.lineno, message))
