"""What a model says goes into a url as one value, and never further."""

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from parley.templates.errors import TemplateError
from parley.templates.render import MAX_URL, render_url


def url(template: str, **arguments: Any) -> str:
    return render_url(template, {"arguments": arguments}, "spec.tools[0].http.url")


@pytest.mark.parametrize(
    ("template", "arguments", "rendered"),
    [
        ("http://h", {}, "http://h"),
        ("http://h/orders/{{ arguments.n }}", {"n": "12345"}, "http://h/orders/12345"),
        ("http://h/{{ arguments.n }}", {"n": "a/b?c=d#e&f%"}, "http://h/a%2Fb%3Fc%3Dd%23e%26f%25"),
        ("http://h/{{ arguments.n }}", {"n": "Käse @:+;"}, "http://h/K%C3%A4se%20%40%3A%2B%3B"),
        ("http://h/{{ arguments.n }}", {"n": "\r\nHost: evil"}, "http://h/%0D%0AHost%3A%20evil"),
        ("http://h?n={{ arguments.n }}", {"n": 5}, "http://h?n=5"),
        ("http://h?n={{ arguments.n }}", {"n": True}, "http://h?n=true"),
        ("http://h?n={{ arguments.n }}", {"n": [1, {"a": None}]}, "http://h?n=%5B1%2C%7B%22a%22%3Anull%7D%5D"),
        # What the author wrote stays as it is, wherever it stands.
        ("http://h/a;b%2Fc?d=e&f {{ arguments.n }}", {"n": ""}, "http://h/a;b%2Fc?d=e&f "),
        ("http://h/{% if arguments.n %}by/{{ arguments.n }}{% else %}all{% endif %}", {"n": "/"}, "http://h/by/%2F"),
        ("http://h/{% for n in arguments.n %}{{ n }}/{% endfor %}", {"n": ["a b", "/"]}, "http://h/a%20b/%2F/"),
        ("http://h/{{ 'a/b' }}", {}, "http://h/a%2Fb"),
        ("http://h/{{ arguments.n ~ '/' }}", {"n": "/"}, "http://h/%2F%2F"),
        ("http://h/{{ arguments.n|urlencode }}", {"n": " "}, "http://h/%2520"),
        ("http://h/{{ arguments.n|safe }}", {"n": "<"}, "http://h/%3C"),
        ("http://h/{% autoescape true %}{{ arguments.n }}{% endautoescape %}", {"n": "<"}, "http://h/%3C"),
        ("http://h/{% set n = arguments.n %}{{ n }}", {"n": "/"}, "http://h/%2F"),
        # A text that is put together first is one value too.
        ("http://h/{% set n %}a/{{ arguments.n }}{% endset %}{{ n }}", {"n": "/"}, "http://h/a%2F%2F"),
        ("http://h/{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(arguments.n) }}", {"n": "/"}, "http://h/%3C%2F%3E"),
        ("http://h/{% block b %}{{ arguments.n }}{% endblock %}", {"n": "/"}, "http://h/%2F"),
        # Two dots in a parameter, or within a segment, lead nowhere.
        ("http://h/a..b?up=../{{ arguments.n }}", {"n": ".."}, "http://h/a..b?up=../.."),
    ],
)  # fmt: skip
def test_what_is_put_in_is_percent_encoded(template: str, arguments: dict[str, Any], rendered: str) -> None:
    assert url(template, **arguments) == rendered


@pytest.mark.parametrize("value", [".", "..", "%2e%2E", "%2E"])
@pytest.mark.parametrize("template", ["http://h/a/{{ arguments.n }}", "http://h/a/{{ arguments.n }}/b?c"])
def test_no_argument_leads_out_of_the_path(template: str, value: str) -> None:
    if value.startswith("."):
        with pytest.raises(TemplateError, match=r"has the segment '\.+'"):
            url(template, n=value)
    else:
        # Encoded already by the caller, it is encoded again, and so is no such segment.
        assert "%25" in url(template, n=value)


@pytest.mark.parametrize(
    "template",
    [
        "http://h/a/{{ '.' }}{{ arguments.n }}",
        "http://h/%2e{{ arguments.n }}/b",
        "http://h/../{{ arguments.n }}",
    ],
)
def test_no_segment_put_together_leads_out_of_the_path(template: str) -> None:
    with pytest.raises(TemplateError, match=r"has the segment '\.\.'"):
        url(template, n=".")


def test_a_url_without_end_is_refused() -> None:
    with pytest.raises(TemplateError, match=f"at most {MAX_URL} are allowed"):
        url("http://h/{{ arguments.n }}", n="x" * MAX_URL)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("http://h/{{ arguments.m }}", "arguments.m is not defined"),
        (
            "http://h/{% filter upper %}{{ arguments.n }}{% endfilter %}",
            "a filter block has no place in a url",
        ),
        (
            "http://h/{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}/{% endcall %}",
            "a call block has no",
        ),
        ("http://h/{% if true %}{% filter upper %}x{% endfilter %}{% endif %}", "a filter block has no"),
        ("http://h/{{ arguments.n", "unexpected end of template"),
    ],
)
def test_a_url_that_cannot_be_made_is_named_by_its_field(template: str, words: str) -> None:
    with pytest.raises(TemplateError) as error:
        url(template, n="/")
    assert error.value.path == "spec.tools[0].http.url"
    assert words in error.value.message
    assert "\n" not in error.value.message


values = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(values, values)
@example("..;/", "?a=b")
@example("a\\b", "#")
def test_whatever_a_model_says_stays_where_it_was_put(segment: str, parameter: str) -> None:
    assume(segment not in {".", ".."})
    rendered = url("http://h:80/a/{{ arguments.s }}/b?c={{ arguments.p }}&d=e", s=segment, p=parameter)
    # Nothing but letters that are safe everywhere, and those of the template
    assert re.fullmatch(r"[A-Za-z0-9_.~%:/?&=-]*", rendered)
    parts = urlsplit(rendered)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("http", "h:80", "")
    assert [unquote(part) for part in parts.path.split("/")] == ["", "a", segment, "b"]
    assert parse_qs(parts.query, keep_blank_values=True) == {"c": [parameter], "d": ["e"]}
