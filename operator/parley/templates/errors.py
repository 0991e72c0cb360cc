"""What goes wrong in a template."""


class TemplateError(Exception):
    """A template cannot be read or rendered.

    Attributes:
        path: of the field, such as ``spec.steps[1].container.args[0]``.
        message: what is wrong, in a sentence; with the line, where the template has several.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(path, message)
        self.path = path
        self.message = message

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class NotJsonError(ValueError):
    """An expression yields what JSON cannot say, or too much of it."""
