"""Names of the objects a task makes, derived from uids so that a repeat meets what the first call made."""

import hashlib

_READABLE = 52
_READABLE_ROUND = 48
_READABLE_CHILD = 41
_READABLE_CALL = 40


def pod_key(job: str, index: int) -> str:
    """Return what a step's pod is known by: its Job's name, with the completion index from 1 on."""
    return job if index == 0 else f"{job}/{index}"


def job_name(task_name: str, task_uid: str, step: str, item: int, number: int) -> str:
    """Return the Job name of one attempt, at most 63 characters.

    The readable part may be ambiguous (task ``a-b``, step ``c`` and task ``a``, step ``b-c``), the hash over the
    task's uid is not; a task made again under the same name gets other Jobs.
    """
    readable = f"{task_name}-{step}"[:_READABLE].rstrip("-")
    digest = hashlib.sha256(f"{task_uid}/{step}/{item}/{number}".encode()).hexdigest()
    return f"{readable}-{digest[:10]}"


def round_name(task_name: str, task_uid: str, step: str, first_item: int, first_number: int) -> str:
    """Return the name of a round's Indexed Job, at most 59 characters: its pods add their index, to 999.

    An attempt is in one round only, so the round's first one (of that item, with that number) tells it from all others.
    """
    readable = f"{task_name}-{step}"[:_READABLE_ROUND].rstrip("-")
    digest = hashlib.sha256(f"{task_uid}/{step}/round/{first_item}/{first_number}".encode()).hexdigest()
    return f"{readable}-{digest[:10]}"


def child_name(task_name: str, task_uid: str, step: str, item: int, number: int) -> str:
    """Return the name of the child Task of one attempt, at most 52 characters, as every Task's."""
    readable = f"{task_name}-{step}"[:_READABLE_CHILD].rstrip("-")
    digest = hashlib.sha256(f"{task_uid}/{step}/{item}/{number}".encode()).hexdigest()
    return f"{readable}-{digest[:10]}"


def call_step(step: str, wait_id: str) -> str:
    """Return what the attempts of a tool call's container have for a step name: a DNS label of at most 54 characters.

    Each call has a wait of its own, so the wait's id tells it from all others of the step.
    """
    return f"{step[:_READABLE_CALL]}--{hashlib.sha256(wait_id.encode()).hexdigest()[:12]}"


def queued_name(task_name: str, task_uid: str, step: str, wait_id: str) -> str:
    """Return the name of the Task that a tool call queues, at most 52 characters, as every Task's."""
    readable = f"{task_name}-{step}"[:_READABLE_CHILD].rstrip("-")
    digest = hashlib.sha256(f"{task_uid}/{step}/call/{wait_id}".encode()).hexdigest()
    return f"{readable}-{digest[:10]}"
