"""Read a spec as it lies in Kubernetes, where it may be of another version of the API, or nested without end."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from parley.resources.common import DURATION
from parley.resources.problems import MAX_DEPTH, Problem, deepest_path, join_path

SpecT = TypeVar("SpecT", bound=BaseModel)

_FREE = frozenset(
    {
        *("inputs", "output", "outputSchema", "context", "inputSchema", "schema"),
        *("items", "inputFile", "onTimeout", "value"),
        *("parameters", "resultSchema", "body", "arguments"),
    }
)
"""Fields that hold values of the user's own."""
_OF_PYDANTIC = "Value error, "


def read_spec(model: type[SpecT], value: object, root: str = "spec") -> SpecT | list[Problem]:
    """The spec, or why it cannot be read.

    The API server takes JSON of 10,000 levels; what is far below that ends in a RecursionError in Python's own
    reader and in pydantic's.

    Args:
        model: of the spec.
        value: as it lies in Kubernetes.
        root: path of the spec, for the problems.
    """
    if (deep := deepest_path(value)) is not None:
        field = next((i for i, part in enumerate(deep, 1) if part in _FREE), 1)
        return [Problem(join_path(root, deep[:field]), f"is nested deeper than {MAX_DEPTH} levels")]
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return parse_problems(error, root)


def parse_problems(error: ValidationError, root: str = "spec") -> list[Problem]:
    """What pydantic says of a spec, with the paths of its fields."""
    return [Problem(join_path(root, item["loc"]), _say(item)) for item in error.errors(include_url=False)]


def _say(item: ErrorDetails) -> str:
    if item.get("ctx", {}).get("pattern") == DURATION:
        # People know the form by an example, not by its pattern.
        return "must be a duration such as 30s, 5m or 1h30m"
    return item["msg"].removeprefix(_OF_PYDANTIC)
