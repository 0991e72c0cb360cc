"""In which variable of a runner's environment a model's key stands. Imports nothing: every container reads settings."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parley.resources.common import SecretKeyRef

MODEL_KEY_PREFIX = "PARLEY_MODEL_API_KEY_"


def model_key_variable(reference: "SecretKeyRef") -> str:
    """Return the variable that holds the key which a model's ``apiKeySecretRef`` names.

    It follows from the reference, not from the model's place among the fallbacks: a runner that stays with its task
    outlives changes of the Agent, and must never send one provider's key to another.
    """
    digest = hashlib.sha256(f"{reference.name}/{reference.key}".encode()).hexdigest()
    return MODEL_KEY_PREFIX + digest[:16].upper()
