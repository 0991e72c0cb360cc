"""What a type checker sees of the package where it is installed."""

from importlib.resources import files


def test_type_checkers_are_told_that_the_package_has_types() -> None:
    """Source: https://typing.python.org/en/latest/spec/distributing.html#packaging-type-information."""
    assert files("parley").joinpath("py.typed").is_file()
