"""What a caller may do: SubjectAccessReviews on Parley's resources and subresources, kept for seconds."""

import time
from collections.abc import Callable

from parley.gateway.access.one_at_a_time import OneAtATime
from parley.gateway.identity import Remembered
from parley.kube.client import KubeApi
from parley.kube.kinds import PARLEY_GROUP
from parley.kube.people import AccessQuestion, Person

ALLOWED_SECONDS = 10.0
"""How long a right that was taken away may still be used."""
DENIED_SECONDS = 2.0
"""How soon a right that was given can be used."""


class Permissions:
    """Asks the API server what people may do.

    Args:
        kube: the API server.
        clock: monotonic seconds, for tests.
    """

    def __init__(self, kube: KubeApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._allowed: Remembered[int, AccessQuestion] = Remembered(ALLOWED_SECONDS, clock)
        self._denied: Remembered[int, AccessQuestion] = Remembered(DENIED_SECONDS, clock)
        self._asking: OneAtATime[int] = OneAtATime()

    async def check(
        self,
        person: Person,
        verb: str,
        resource: str,
        namespace: str,
        *,
        name: str = "",
        subresource: str = "",
    ) -> bool:
        """Tell whether a person may do this.

        Raises:
            KubeError: the API server does not answer.
        """
        question = AccessQuestion(person, verb, PARLEY_GROUP, resource, namespace, subresource, name)
        key = _key(question)
        known = self._known(key, question)
        if known is not None:
            return known
        async with self._asking(key):
            known = self._known(key, question)
            if known is not None:
                return known
            allowed = await self._kube.review_access(question)
            (self._allowed if allowed else self._denied).put(key, question)
            return allowed

    def _known(self, key: int, question: AccessQuestion) -> bool | None:
        # Two questions may have one hash.
        if self._allowed.get(key) == question:
            return True
        return False if self._denied.get(key) == question else None


def _key(question: AccessQuestion) -> int:
    person = question.person
    return hash(
        (
            person.username,
            person.uid,
            person.groups,
            tuple(sorted(person.extra.items())),
            question.verb,
            question.resource,
            question.subresource,
            question.namespace,
            question.name,
        )
    )
