"""In which variable of a runner's environment a secret stands. Imports nothing: every container reads settings."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parley.resources.common import SecretKeyRef

MODEL_KEY_PREFIX = "PARLEY_MODEL_API_KEY_"
TOOL_SECRET_PREFIX = "PARLEY_TOOL_SECRET_"  # noqa: S105 - the beginning of a name


def model_key_variable(reference: "SecretKeyRef") -> str:
    """Return the variable that holds the key which a model's ``apiKeySecretRef`` names.

    It follows from the reference, not from the model's place among the fallbacks: a runner that stays with its task
    outlives changes of the Agent, and must never send one provider's key to another.
    """
    return MODEL_KEY_PREFIX + _digest(reference)


def tool_secret_variable(reference: "SecretKeyRef") -> str:
    """Return the variable that holds the value of a tool's header which ``valueFrom.secretKeyRef`` names.

    As with a model's key it follows from the reference: no other server's header ever gets the value.
    """
    return TOOL_SECRET_PREFIX + _digest(reference)


def _digest(reference: "SecretKeyRef") -> str:
    return hashlib.sha256(f"{reference.name}/{reference.key}".encode()).hexdigest()[:16].upper()
