"""The rights that the chart gives are the rights that the code uses: none missing, none more.

The calls of ``KubeApi`` are read from the sources, so that a new call changes this test's answer by itself.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import parley.kube.kinds
import pytest
from parley.controller.watch import WATCHED
from parley.kube.client import KubeApi
from parley.kube.kinds import (
    AGENT,
    DEPLOYMENT,
    JOB,
    POD,
    REPLICA_SET,
    REPLY,
    SCHEDULE,
    SESSION,
    SUBJECT_ACCESS_REVIEW,
    TASK,
    TASK_TEMPLATE,
    TOKEN_REVIEW,
    Kind,
)

from tests.unit.charts.rendering import BUNDLED, EXTERNAL, Manifest, manifests

PACKAGE = Path(parley.kube.kinds.__file__).parents[1]
VERBS = {
    "get": "get",
    "list": "list",
    "pages": "list",
    "page": "list",
    "create": "create",
    "replace": "update",
    "apply": "patch",
    "merge_patch": "patch",
    "apply_status": "patch",
    "delete": "delete",
}
PARLEYS = (AGENT, SESSION, TASK, TASK_TEMPLATE, SCHEDULE, REPLY)
# Which kinds a call means that does not name one.
VARIABLE_KINDS = {
    ("controller/listing.py", "get"): PARLEYS,
    ("controller/listing.py", "pages"): (*PARLEYS, JOB, POD, DEPLOYMENT),
    ("controller/spec_reconciler.py", "apply_status"): (AGENT, TASK_TEMPLATE),
    ("gateway/identity.py", "get"): (JOB, REPLICA_SET, DEPLOYMENT),
}
Right = tuple[str, str, str]


def calls(part: str) -> Iterator[tuple[str, str, ast.Call]]:
    """(file, method, call) of everything asked of a KubeApi in a part of the package."""
    for path in sorted(PACKAGE.joinpath(part).rglob("*.py")) if "." not in part else [PACKAGE / part]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if owner.rpartition(".")[2].lstrip("_") == "kube" and hasattr(KubeApi, node.func.attr):
                    yield str(path.relative_to(PACKAGE)), node.func.attr, node


def used(*parts: str) -> set[Right]:
    found: set[Right] = set()
    for part in parts:
        for file, method, call in calls(part):
            if method == "review_token":
                found.add((TOKEN_REVIEW.group, TOKEN_REVIEW.plural, "create"))
            if method == "review_access":
                found.add((SUBJECT_ACCESS_REVIEW.group, SUBJECT_ACCESS_REVIEW.plural, "create"))
            if method == "read_log":
                found.add((POD.group, f"{POD.plural}/log", "get"))
            if method in {"review_token", "review_access", "read_log", "close"}:
                continue
            named = getattr(parley.kube.kinds, ast.unparse(call.args[0]), None)
            kinds = (named,) if isinstance(named, Kind) else VARIABLE_KINDS.get((file, method))
            assert kinds, f"{file}: {ast.unparse(call)}: say in VARIABLE_KINDS which kinds this asks for"
            if any(keyword.arg == "as_user" for keyword in call.keywords):
                found |= {right for kind in kinds for right in impersonation(kind, VERBS[method])}
                continue
            suffix = "/status" if method == "apply_status" else ""
            verbs = [VERBS[method], *(["create"] if may_create(method, call) else [])]
            found |= {(kind.group, f"{kind.plural}{suffix}", verb) for kind in kinds for verb in verbs}
    return found


def blocking_owners(part: str) -> Iterator[Right]:
    """What OwnerReferencesPermissionEnforcement, which OpenShift has on, asks of who lets an owner wait for a dependent."""
    for path in sorted(PACKAGE.joinpath(part).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Dict):
                continue
            entries = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if "blockOwnerDeletion" in entries:
                named = ast.unparse(entries["kind"]).removesuffix(".kind").strip("'")
                owner = next(kind for kind in PARLEYS if named in {kind.kind, kind.kind.upper()})
                yield owner.group, f"{owner.plural}/finalizers", "update"


def changed_owners(part: str) -> Iterator[Right]:
    """What it asks of who gives an object an owner that it was not made with."""
    for path in sorted(PACKAGE.joinpath(part).rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.AsyncFunctionDef) or "ownerReferences" not in ast.unparse(
                function
            ):
                continue
            for node in ast.walk(function):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("kube.apply"):
                    kind = getattr(parley.kube.kinds, ast.unparse(node.args[0]))
                    yield kind.group, kind.plural, "delete"


def may_create(method: str, call: ast.Call) -> bool:
    """Whether an apply makes the object where there is none: the API server asks for both verbs."""
    uids = [ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "uid"]
    return method == "apply" and uids == ["None"]


def impersonation(kind: Kind, verb: str) -> Iterator[Right]:
    """What it takes to do one thing in the name of anybody, and nothing else; the right to do it is theirs."""
    for mode, whom in (("user-info", ("users", "groups")), ("serviceaccount", ("serviceaccounts",))):
        for resource in whom:
            yield "authentication.k8s.io", resource, f"impersonate:{mode}"
        yield kind.group, kind.plural, f"impersonate-on:{mode}:{verb}"


def granted(account: str, settings: tuple[str, ...]) -> set[Right]:
    """What the roles bound to a service account of the release allow."""
    everything = manifests(settings)

    def bound(binding: Manifest) -> bool:
        return any(subject["name"] == account for subject in binding.get("subjects", []))

    roles = {
        (binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for binding in everything
        if binding["kind"].endswith("RoleBinding") and bound(binding)
    }
    return {
        (group, resource, verb)
        for role in everything
        if (role["kind"], role["metadata"]["name"]) in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize("settings", [EXTERNAL, BUNDLED, (*EXTERNAL, "watchNamespaces={shop}")])
def test_the_operator_has_the_rights_it_uses(settings: tuple[str, ...]) -> None:
    watched = {(kind.group, kind.plural, verb) for kind in WATCHED for verb in ("list", "watch")}
    uses = used("controller", "kube/lease.py", "kube/events.py") | watched
    assert granted("parley-operator", settings) == uses
    owners = {*blocking_owners("controller"), *changed_owners("controller")}
    assert {resource for _, resource, _ in owners} == {
        "agents/finalizers",
        "tasks/finalizers",
        "schedules/finalizers",
        "replies",
    }
    enforced = (*settings, "operator.ownerReferenceRights=true")
    assert granted("parley-operator", enforced) == uses | owners


@pytest.mark.parametrize("settings", [EXTERNAL, (*EXTERNAL, "watchNamespaces={shop}")])
def test_the_gateway_has_the_rights_it_uses(settings: tuple[str, ...]) -> None:
    assert granted("parley-gateway", settings) == used("gateway")
    assert {*blocking_owners("gateway"), *blocking_owners("resources"), *changed_owners("gateway")} == set()


def test_without_impersonation_the_gateway_has_no_right_to_it() -> None:
    rights = granted("parley-gateway", (*EXTERNAL, "gateway.impersonation=None"))
    assert rights == {right for right in used("gateway") if not right[2].startswith("impersonate")}


def test_the_runner_and_the_migration_ask_nothing_of_the_api_server() -> None:
    assert used("runner", "store") == set()
