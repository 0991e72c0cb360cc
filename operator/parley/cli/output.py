"""Print objects for programs: JSON, YAML, names. Tables are each command's own."""

import json
from collections.abc import Sequence
from typing import cast

import click
from pydantic import JsonValue

from parley.cli.app import Format
from parley.cli.reading import as_value, mapping, name_of, text
from parley.kube.client import JsonObject


def print_objects(items: Sequence[JsonObject], output: Format, *, single: bool = False) -> bool:
    """Print Kubernetes objects in the format asked for; False when that is a table, which is the caller's.

    Args:
        items: the objects.
        output: the format.
        single: one was asked for by name, so JSON and YAML have no list around it.
    """
    if output in {"table", "wide"}:
        return False
    if output == "name":
        for item in items:
            group = text(item, "apiVersion").split("/")[0]
            click.echo(f"{text(item, 'kind').lower()}.{group}/{name_of(item)}")
        return True
    whole: JsonValue = {"apiVersion": "v1", "kind": "List", "items": as_value(map(_readable, items))}
    print_value(_readable(items[0]) if single else whole, output)
    return True


def print_value(value: JsonValue, output: Format) -> None:
    """Print a value as JSON or YAML."""
    if output == "yaml":
        import yaml

        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=110), nl=False)
    else:
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _readable(item: JsonObject) -> JsonObject:
    """Leave out who wrote which field, as kubectl does."""
    metadata = {key: value for key, value in mapping(item, "metadata").items() if key != "managedFields"}
    return cast("JsonObject", {**item, "metadata": metadata})


def as_text(value: JsonValue) -> str:
    """A value as people read it: a text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
