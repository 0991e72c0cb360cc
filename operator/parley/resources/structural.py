"""Turn pydantic's JSON Schema into the structural schema that Kubernetes takes.

Kubernetes refuses ``$ref``, ``anyOf`` with null, and ``additionalProperties`` beside ``properties``. Beyond
that, this converter refuses what Parley's API does not want: floats, and strings, lists and maps without a
bound (the API server also estimates the cost of CEL rules from the bounds).
"""

from typing import TypeAlias, cast

from pydantic import BaseModel, JsonValue

from parley.resources.common import KEEP_DEFAULT

Schema: TypeAlias = dict[str, JsonValue]

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "minimum",
    "maximum",
    "required",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "oneOf",
)
_HANDLED = frozenset(
    {
        *("title", "default", "examples", "$schema", "$defs", KEEP_DEFAULT),
        *("$ref", "allOf", "anyOf", "const", "properties", "items", "additionalProperties"),
        *("exclusiveMinimum", "exclusiveMaximum"),
    }
)


class SchemaError(ValueError):
    """A model says something that a CRD cannot say, or that Parley's API does not want."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The structural schema of a model.

    Raises:
        SchemaError: names the path of the field and what is wrong with it.
    """
    schema = cast("Schema", model.model_json_schema(mode="validation"))
    definitions = cast("dict[str, Schema]", schema.get("$defs", {}))
    return _Converter(definitions).convert(schema, model.__name__, frozenset())


class _Converter:
    def __init__(self, definitions: dict[str, Schema]) -> None:
        self._definitions = definitions

    def convert(self, schema: Schema, path: str, inside: frozenset[str]) -> Schema:
        schema, inside = self._resolve(schema, path, inside)
        if unknown := schema.keys() - _HANDLED - set(_KEPT):
            raise SchemaError(f"{path}: a CRD cannot say {', '.join(sorted(unknown))}")
        if "anyOf" in schema:
            return self._int_or_string(schema, path)
        node: Schema = {key: schema[key] for key in _KEPT if key in schema}
        if "const" in schema:
            node["enum"] = [schema["const"]]
        if schema.get(KEEP_DEFAULT):
            node["default"] = schema["default"]
        match schema.get("type"):
            case "object":
                self._object(schema, node, path, inside)
            case "array":
                self._array(schema, node, path, inside)
            case "string":
                _string(node, path)
            case "integer":
                _integer(schema, node)
            case "boolean":
                pass
            case None if not _value_keywords(schema):
                node.update({"x-kubernetes-preserve-unknown-fields": True, "nullable": True})
            case other:
                raise SchemaError(f"{path}: type {other} has no place in the API")
        return node

    def _resolve(self, schema: Schema, path: str, inside: frozenset[str]) -> tuple[Schema, frozenset[str]]:
        """Follow ``$ref`` and drop null from ``anyOf``; what stands beside them wins over their target."""
        while True:
            siblings = {key: value for key, value in schema.items() if key not in {"$ref", "anyOf"}}
            if isinstance(reference := schema.get("$ref"), str):
                name = reference.removeprefix("#/$defs/")
                if name in inside:
                    raise SchemaError(f"{path}: {name} contains itself; a CRD cannot say that")
                inside |= {name}
                schema = {**self._definitions[name], **siblings}
                continue
            branches = [b for b in cast("list[Schema]", schema.get("anyOf", [])) if b.get("type") != "null"]
            if len(branches) != 1:
                return schema, inside
            schema = {**branches[0], **siblings}

    def _int_or_string(self, schema: Schema, path: str) -> Schema:
        branches = cast("list[Schema]", schema["anyOf"])
        by_type = {branch.get("type"): branch for branch in branches}
        if by_type.keys() != {"string", "integer"}:
            raise SchemaError(
                f"{path}: a union has no place in the API; use one field per kind and a CEL rule"
            )
        text = by_type["string"]
        if "maxLength" not in text:
            raise SchemaError(f"{path}: a string needs a maxLength")
        return {
            **({"description": schema["description"]} if "description" in schema else {}),
            "x-kubernetes-int-or-string": True,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": text["maxLength"],
            **({"pattern": text["pattern"]} if "pattern" in text else {}),
        }

    def _object(self, schema: Schema, node: Schema, path: str, inside: frozenset[str]) -> None:
        properties = cast("dict[str, Schema] | None", schema.get("properties"))
        if properties is not None:
            node["properties"] = {
                name: self.convert(value, f"{path}.{name}", inside) for name, value in properties.items()
            }
            return
        if "maxProperties" not in node:
            raise SchemaError(f"{path}: a map needs a maxProperties")
        extra = schema.get("additionalProperties", True)
        value = self._resolve(extra, path, inside)[0] if isinstance(extra, dict) else {}
        if not _value_keywords(value):
            node["x-kubernetes-preserve-unknown-fields"] = True
        else:
            node["additionalProperties"] = self.convert(value, f"{path}.*", inside)

    def _array(self, schema: Schema, node: Schema, path: str, inside: frozenset[str]) -> None:
        if "maxItems" not in node:
            raise SchemaError(f"{path}: a list needs a maxItems")
        node.setdefault("x-kubernetes-list-type", "atomic")
        node["items"] = self.convert(cast("Schema", schema["items"]), f"{path}[]", inside)


def _value_keywords(schema: Schema) -> set[str]:
    return schema.keys() - {"title", "description", "default"}


def _string(node: Schema, path: str) -> None:
    if "maxLength" not in node and "enum" not in node and node.get("format") != "date-time":
        raise SchemaError(f"{path}: a string needs a maxLength")


def _integer(schema: Schema, node: Schema) -> None:
    node["format"] = "int64"
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.title()}"
        if exclusive in schema:
            node.update({bound: schema[exclusive], exclusive: True})
