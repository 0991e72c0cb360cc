"""What templates give: the value itself, or a text; and what is said when they cannot."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parley.templates.errors import TemplateError
from parley.templates.render import render_text, render_value
from parley.templates.values import MAX_INTEGER_BITS

SCOPE: dict[str, Any] = {
    "inputs": {
        "order": "12345",
        "count": 5,
        "yes": True,
        "nothing": None,
        "ratio": 1.0,
        "list": [1, None, {"x": "y"}],
        # A mapping's own methods must not hide its keys.
        "items": "the key",
    },
    "steps": {"look_up": {"output": {"name": 'Ü"x', "get": 1}}},
}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**MAX_INTEGER_BITS) + 1, max_value=2**MAX_INTEGER_BITS - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Equal in JSON: True is not 1, and 1 is not 1.0."""
    return json.dumps(left) == json.dumps(right)


@settings(deadline=None)
@given(json_values)
def test_a_value_passed_by_one_expression_comes_back_as_it_was(value: Any) -> None:
    assert same(render_value("{{ inputs.v }}", {"inputs": {"v": value}}, "f"), value)
    assert same(render_value({"a": ["{{ inputs['v'] }}"]}, {"inputs": {"v": value}}, "f"), {"a": [value]})


@settings(deadline=None)
@given(json_values)
def test_in_a_text_a_string_goes_as_it_is_and_all_else_as_compact_json(value: Any) -> None:
    expected = (
        value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    )
    assert render_text("{{ v }}", {"v": value}, "f") == expected
    assert render_value("[{{ v }}]", {"v": value}, "f") == f"[{expected}]"


@settings(deadline=None)
@given(st.text())
def test_what_a_value_says_is_never_read_as_a_template(text: str) -> None:
    braces = f"{text}{{{{ 1/0 }}}}{{% for %}}"
    assert render_value("{{ v }}", {"v": braces}, "f") == braces
    assert render_text("a{{ v }}", {"v": braces}, "f") == f"a{braces}"


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("{{ inputs.order }}", "12345"),
        ("{{- inputs.count -}}", 5),
        ("{{ inputs.count }}\n", "5\n"),
        (" {{ inputs.count }}", " 5"),
        ("{{ inputs.list }}", [1, None, {"x": "y"}]),
        ("{{ inputs.items }}", "the key"),
        ("{{ steps.look_up.output.get }}", 1),
        ("{{ inputs|attr('items') }}", "the key"),
        ("{{ inputs.count > 3 and inputs.yes }}", True),
        ("{{ inputs.missing is defined }}", False),
        ("{{ inputs.missing|default('none') }}", "none"),
        ("{{ (1, 2) }}", [1, 2]),
        ("{{ inputs.list|map('string') }}", ["1", "null", '{"x":"y"}']),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ inputs.order ~ inputs.yes ~ inputs.nothing ~ inputs.list }}", '12345truenull[1,null,{"x":"y"}]'),
        ("{{ [1, none, 'a']|join('-') }}", "1-null-a"),
        ("{{ [{'a': none}]|join(attribute='a') }}", "null"),
        ("{{ inputs.yes|string }}", "true"),
        ("{{ steps.look_up.output|tojson }}", '{"name":"Ü\\"x","get":1}'),
        ("{{ [1]|tojson(indent=1) }}", "[\n 1\n]"),
        (
            "{% for k, v in inputs|items %}{{ k }}{{ loop.index }} {% endfor %}",
            "order1 count2 yes3 nothing4 ",
        ),
        ("{% if inputs.yes %}a{% endif %}", "a"),
        ("{# only a remark #}", ""),
        ("no template { at all", "no template { at all"),
    ],
)
def test_a_template_gives(template: str, result: Any) -> None:
    given = render_value(template, SCOPE, "f")
    if isinstance(given, str) and template.startswith("{% for"):
        assert given.startswith(result)
    else:
        assert same(given, result)


def test_strings_anywhere_in_a_value_are_rendered_and_keys_are_not() -> None:
    template = {"{{ key }}": ["{{ inputs.count }}", 7, None, {"deep": "n={{ inputs.count }}"}]}
    assert render_value(template, SCOPE, "spec.output") == {"{{ key }}": [5, 7, None, {"deep": "n=5"}]}


def test_a_result_is_a_copy() -> None:
    result = render_value("{{ inputs.list }}", SCOPE, "f")
    assert isinstance(result, list)
    result.append("changed")
    assert SCOPE["inputs"]["list"] == [1, None, {"x": "y"}]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ inputs.ordr }}", "inputs.ordr is not defined; inputs has order, count"),
        ("{{ inputs['a b'] }}", "inputs.a b is not defined"),
        ("{{ steps.later.output }}", "steps.later is not defined; steps has look_up"),
        (
            "{{ steps.look_up.output.x.y }}",
            "steps.look_up.output.x is not defined; steps.look_up.output has name",
        ),
        ("{{ nowhere }}", "'nowhere' is not defined; a template here knows inputs, steps"),
        ("{{ inputs.list[7] }}", "inputs.list[7] is not defined; inputs.list has 3 items"),
        ("{{ inputs.order.length }}", "a string has no 'length'"),
        ("{{ inputs.keys() }}", "use the filter inputs|items"),
        ("{% if inputs.missing %}a{% endif %}", "inputs.missing is not defined"),
        ("a{{ inputs.missing }}", "inputs.missing is not defined"),
        ("one\ntwo\n{{ inputs.missing }}", "line 3: inputs.missing is not defined"),
        ("one\n{% if %}", "line 2: Expected an expression"),
        ("{{ a b }}", "expected token 'end of print statement', got 'b'"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ inputs.order + 1 }}", "can only concatenate str"),
        ("{{ inputs.order.upper }}", "a function; it may miss its parentheses"),
        ("{{ {1: 2} }}", "keys must be strings"),
        ("{{ namespace() }}", "a Namespace, which JSON cannot say"),
        ("{{ 'a'.encode() }}", "a bytes, which JSON cannot say"),
        ("{{ '\ud800' }}", "surrogates not allowed"),
        ("{{ 'x'|unknown }}", "No filter named 'unknown'"),
        ("{{ " + "9" * 5000 + " }}", "limit"),
        ("{{ 2 ** 8000 }}", "more than 1200 digits"),
        ("{% for a in 'x' %}" * 30 + "{% endfor %}" * 30, "too many statically nested blocks"),
        ("{{ inputs.list.append(1) }}", "unsafe"),
    ],
)
def test_an_error_names_the_field_and_what_is_wrong(template: str, words: str) -> None:
    with pytest.raises(TemplateError) as caught:
        render_value({"args": [template]}, SCOPE, "spec.steps[1]")
    assert caught.value.path == "spec.steps[1].args[0]"
    assert words in caught.value.message
    assert str(caught.value) == f"spec.steps[1].args[0]: {caught.value.message}"


def test_numbers_that_json_cannot_say_are_refused() -> None:
    with pytest.raises(TemplateError, match="inf, which JSON cannot say"):
        render_value("{{ v }}", {"v": math.inf}, "f")
    with pytest.raises(TemplateError, match="nan, which JSON cannot say"):
        render_text("a {{ v }}", {"v": math.nan}, "f")


def test_a_result_has_a_largest_size_and_depth() -> None:
    fits = "x" * (1024 * 1024)
    assert render_text("{{ v }}", {"v": fits}, "f") == fits
    with pytest.raises(TemplateError, match="larger than 1 MiB"):
        render_text("{{ v }}é", {"v": fits}, "f")
    with pytest.raises(TemplateError, match="larger than 1 MiB"):
        render_value("{{ [v] }}", {"v": fits}, "f")
    deep: Any = []
    for _ in range(300):
        deep = [deep]
    with pytest.raises(TemplateError, match="nested deeper than 200 levels"):
        render_value("{{ v }}", {"v": deep}, "f")
    with pytest.raises(TemplateError, match="more than 200000 values"):
        render_value("{{ [v, v, v] }}", {"v": [0] * 99_999}, "f")
