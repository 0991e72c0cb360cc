"""The end of a container's log: kept with its attempt, for the pod and its log go."""

import logging

from parley.controller.context import Context
from parley.controller.pod_view import STEP_CONTAINER
from parley.kube.errors import KubeError

log = logging.getLogger(__name__)


async def end_of_log(context: Context, namespace: str, pod: str) -> str | None:
    """Return the last ``PARLEY_LOG_BYTES`` of what a step's container wrote; None when they cannot be had.

    A log is of use, not of need: whatever keeps it away keeps no step from its end.
    """
    limit = context.settings.log_bytes
    if limit <= 0:
        return None
    try:
        return await context.kube.read_log(namespace, pod, STEP_CONTAINER, limit=limit)
    except KubeError as error:
        log.info("the log of pod %s/%s is not kept: %s", namespace, pod, error)
        return None
