"""Tools that Parley itself gives; the gateway carries them out."""

from typing import Final

from parley.runner.chat import ToolDefinition

UPDATE_CONTEXT: Final = ToolDefinition(
    name="update_context",
    description="Change what is known in this conversation. It is kept for all later turns. Keys that are not named "
    "stay as they are. The result is what is known now; if somebody else has changed one of the keys meanwhile, "
    "nothing is changed, and the result says so and shows what is known: look at it, and call again.",
    parameters={
        "type": "object",
        "properties": {
            "changes": {
                "type": "object",
                "description": "The new values by key, any JSON; null removes a key.",
                "minProperties": 1,
            }
        },
        "required": ["changes"],
        "additionalProperties": False,
    },
)
BUILTIN: Final = {UPDATE_CONTEXT.name: UPDATE_CONTEXT}
"""All of them, by name."""
