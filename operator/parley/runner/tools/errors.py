"""How tools fail."""


class ToolProblem(Exception):
    """A call has failed. The text is a sentence for the model: the tool, what is wrong and what to do; no secret."""


class ToolsUnavailable(Exception):
    """An agent's tools cannot be offered as they stand; the text says which, why, and what to do. No secret in it."""
