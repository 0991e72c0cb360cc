"""What is applied reads the same as YAML and as JSON, whatever people and models say."""

import json

import pytest
import yaml
from hypothesis import given
from parley.kube.applied_body import applied_body
from parley.kube.client import JsonObject
from pydantic import JsonValue

from tests.hostile import json_values, texts


@given(json_values())
def test_json_reads_what_was_written(value: JsonValue) -> None:
    body: JsonObject = {"status": value}
    assert json.loads(applied_body(body)) == body


@given(texts())
def test_yaml_reads_the_same(text: str) -> None:
    body: JsonObject = {"status": {text[:20]: text}}
    assert yaml.safe_load(applied_body(body)) == body


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("\U0001f600", "\U0001f600"),
        ("\\ud83d", "\\\\ud83d"),
        ("\x85\x9f\x7f", "\\u0085\\u009f\\u007f"),
        ("a\ud800b", "a\\ufffdb"),
        ("\u00e9\u2028\ufeff", "\\u00e9\\u2028\\ufeff"),
    ],
)
def test_what_yaml_refuses_is_escaped_and_what_it_refuses_as_an_escape_is_not(
    text: str, written: str
) -> None:
    assert applied_body({"a": text}) == f'{{"a":"{written}"}}'
