"""Names of the objects a task makes, derived from uids so that a repeat meets what the first call made."""

import hashlib

_READABLE = 52


def job_name(task_name: str, task_uid: str, step: str, item: int, number: int) -> str:
    """Return the Job name of one attempt, at most 63 characters.

    The readable part may be ambiguous (task ``a-b``, step ``c`` and task ``a``, step ``b-c``), the hash over the
    task's uid is not; a task made again under the same name gets other Jobs.
    """
    readable = f"{task_name}-{step}"[:_READABLE].rstrip("-")
    digest = hashlib.sha256(f"{task_uid}/{step}/{item}/{number}".encode()).hexdigest()
    return f"{readable}-{digest[:10]}"
