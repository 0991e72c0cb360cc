"""What an answer must be to count as one: complete, not empty, and small enough to be stored."""

from pydantic import JsonValue

from parley.protocol.messages import MAX_OUTPUT_BYTES
from parley.resources.reasons import Reason
from parley.runner.chat import ModelReply
from parley.runner.failure import StepFailure
from parley.runner.fallbacks import ModelChain
from parley.runner.journal import size_of


def check_ending(reply: ModelReply, agent: str, models: ModelChain) -> None:
    """Make sure that the model answered in full.

    Args:
        reply: the model's.
        agent: the agent's name.
        models: its models, of which one answered.

    Raises:
        StepFailure: ModelError: it refused (definite), was cut off, or said nothing.
    """
    model = models.label
    if reply.ending == "refused":
        why = f": {reply.text}" if reply.text else " without saying why"
        raise StepFailure(Reason.MODEL_ERROR, f"model {model} refused to answer{why}", definite=True)
    if reply.ending == "length":
        limit = models.spec.max_output_tokens
        advice = (
            f"agent {agent} allows {limit}: raise {models.field}.maxOutputTokens or ask for less"
            if limit
            else "ask for less"
        )
        message = f"the answer of model {model} was cut off at its token limit; {advice}"
        raise StepFailure(Reason.MODEL_ERROR, message)
    if not reply.text.strip():
        raise StepFailure(Reason.MODEL_ERROR, f"model {model} gave an empty answer")


def check_size(output: JsonValue, path: str) -> None:
    """Make sure that an output can be stored.

    Raises:
        StepFailure: ResultTooLarge, definite.
    """
    size = size_of(output)
    if size > MAX_OUTPUT_BYTES:
        message = f"the output of {path} has {size} bytes as JSON, more than {MAX_OUTPUT_BYTES}"
        raise StepFailure(Reason.RESULT_TOO_LARGE, message, definite=True)
