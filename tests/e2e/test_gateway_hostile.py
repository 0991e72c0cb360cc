"""The gateway as it is installed, met by whoever means harm: the same table as in its own tests, and the same fuzz."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import sleep
from typing import Any

import httpx2
import pytest
from hypothesis import given

from tests.cluster import LONG, SYSTEM_NAMESPACE, Cluster
from tests.e2e.conftest import agent, session
from tests.integration.gateway.hostile_requests import ALL, Hostile
from tests.integration.gateway.raw_http import RawAnswer, send_raw

pytestmark = pytest.mark.cluster

AT_ONCE = 8
TIMES = 60
"""How often who is told to come back later does so."""
GATEWAY_PODS = "app.kubernetes.io/component=gateway"


@dataclass(frozen=True)
class Front:
    """The gateway's address, and the tokens of people whom a namespace knows."""

    url: str
    namespace: str
    tokens: dict[bytes, bytes]

    def told(self, request: bytes) -> bytes:
        """Put what is real into a request of the table, in its line and its headers."""
        head, blank, body = request.partition(b"\r\n\r\n")
        head = head.replace(b"/namespaces/shop", b"/namespaces/" + self.namespace.encode())
        for name, token in self.tokens.items():
            head = head.replace(name, token)
        return head + blank + body

    def send(self, hostile: Hostile) -> RawAnswer:
        """Send a request of the table; who is told to come back later does so."""
        answer = send_raw(self.url, self.told(hostile.request))
        for _ in range(TIMES):
            if answer.status != 429:
                break
            sleep(float(answer.headers["retry-after"]))
            answer = send_raw(self.url, self.told(hostile.request))
        return answer


@pytest.fixture
def front(cluster: Cluster, namespace: str) -> Front:
    """ann may do everything in the namespace and act for alice, nobody nothing."""
    cluster.apply(namespace, agent(), session("first", user={"id": "alice"}, context={"order": "12345"}))
    for name in ("ann", "nobody"):
        cluster.kubectl("create", "serviceaccount", name, "-n", namespace)
    rule = {
        "apiGroups": ["parley.dev"],
        "resources": ["users"],
        "resourceNames": ["alice"],
        "verbs": ["act-for"],
    }
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "rules": [rule]}
    cluster.apply(namespace, role | {"metadata": {"name": "alices"}})
    for name, right in (("all", "--clusterrole=parley-admin"), ("alices", "--role=alices")):
        who = f"--serviceaccount={namespace}:ann"
        cluster.kubectl("create", "rolebinding", name, "-n", namespace, right, who)

    def token(account: str, *options: str) -> bytes:
        return cluster.kubectl("create", "token", account, "-n", namespace, *options).strip().encode()

    tokens = {
        b"token-of-ann": token("ann"),
        b"token-of-nobody": token("nobody"),
        b"token-of-a-step": token("ann", "--audience=parley"),
    }
    address = cluster.kubectl(
        "get", "service", "parley-gateway", "-n", SYSTEM_NAMESPACE,
        "-o", "jsonpath={.spec.clusterIP}:{.spec.ports[0].port}",
    )  # fmt: skip
    return Front(f"http://{address}", namespace, tokens)


def starts(cluster: Cluster) -> dict[str, int]:
    """How often each of the gateway's containers was started again."""
    return {
        pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"]
        for pod in cluster.list("pod", SYSTEM_NAMESPACE, GATEWAY_PODS)
    }


def faults(cluster: Cluster, namespace: str) -> list[str]:
    """What the logs tell of the gateway's faults in the namespace, and of what the operator does there in vain."""

    def lines(component: str) -> list[str]:
        selector = f"app.kubernetes.io/component={component}"
        log = cluster.kubectl("logs", "-n", SYSTEM_NAMESPACE, "-l", selector, "--tail=-1", "--since=10m")
        return [line for line in log.splitlines() if namespace in line]

    return [
        *(line for line in lines("gateway") if "a fault in" in line),
        *(line for line in lines("operator") if " ERROR " in line),
    ]


def test_hostile_requests_get_their_exact_answers_from_the_installed_gateway(
    cluster: Cluster, front: Front
) -> None:
    before = starts(cluster)

    # When each of them is sent, some at a time, for a few say nothing for as long as they are listened to
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(front.send, ALL))

    # Then each got its answer, none of them with the caller's token in it
    wrong: list[object] = []
    token = front.tokens[b"token-of-ann"]
    for hostile, answer in zip(ALL, answers, strict=True):
        of_api = answer.headers.get("content-type") == "application/problem+json"
        got = (answer.status, answer.json.get("reason") if of_api else None)
        if got != (hostile.status, hostile.reason):
            wrong.append((hostile.what, got, answer.body[:300]))
        if token in answer.body or token.decode() in str(answer.headers):
            wrong.append((hostile.what, "tells the token"))
    assert not wrong
    # And the gateway has neither ended nor met a fault
    assert starts(cluster) == before
    assert not faults(cluster, front.namespace)


def test_what_its_own_document_allows_and_forbids_is_answered_as_it_says(
    cluster: Cluster, front: Front
) -> None:
    # These take a second to import, in every process that collects tests.
    import schemathesis
    from schemathesis import Case, GenerationMode

    from tests.integration.gateway.test_fuzz import APART, IN_PLACE, examples

    before = starts(cluster)
    document = httpx2.get(f"{front.url}/openapi.json", timeout=LONG, trust_env=False).json()
    operations = [found.ok() for found in schemathesis.openapi.from_dict(document).get_all_operations()]
    of_people = [
        one for one in operations if "people" in one.tags and one.definition.raw["operationId"] not in APART
    ]
    assert len(of_people) >= 14
    statuses: dict[int, int] = {}

    def fuzz(operation: Any, mode: GenerationMode) -> None:
        @examples(operation)
        @given(operation.as_strategy(generation_mode=mode))
        def send(case: Case) -> None:
            case.path_parameters["namespace"] = front.namespace
            if "name" in case.path_parameters:
                case.path_parameters["name"] = "first"
            case.headers.pop("Parley-User", None)
            case.headers["Authorization"] = f"Bearer {front.tokens[b'token-of-ann'].decode()}"
            answer = case.call_and_validate(base_url=front.url, checks=IN_PLACE, timeout=LONG)
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            if answer.status_code == 429:
                sleep(float(answer.headers["retry-after"][0]))

        send()

    for operation in of_people:
        for mode in GenerationMode:
            fuzz(operation, mode)

    # Both what was good and what was bad has been among them
    assert statuses.keys() & {200, 201}, statuses
    assert statuses.keys() & {400, 422}, statuses
    assert starts(cluster) == before
    assert not faults(cluster, front.namespace)
