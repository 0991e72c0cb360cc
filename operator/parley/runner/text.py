"""Text that Postgres and JSON can hold: a model may answer with characters that neither takes."""

from pydantic import JsonValue

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def storable_text(text: str) -> str:
    """Replace NUL, which jsonb refuses, and lone surrogates, which UTF-8 cannot write."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", _REPLACEMENT)


def storable(value: JsonValue) -> JsonValue:
    """Do the same for every string of a JSON value, keys included."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable_text(key): storable(item) for key, item in value.items()}
    return value
