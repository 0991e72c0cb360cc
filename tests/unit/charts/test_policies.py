"""What the API server is told about Replies and cleared histories; what it makes of it is tested on a real one (e2e)."""

import pytest

from tests.unit.charts.rendering import EXTERNAL, SIGNING, Manifest, manifests, named, of_kind

MUTATING = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
KINDS = ("MutatingAdmissionPolicy", "ValidatingAdmissionPolicy")
RESTRICTED = (*SIGNING, "watchNamespaces={shop,desk}")
SIGNED = {"reply": "replies", "clear-history": "sessions"}
each_signed = pytest.mark.parametrize("what", SIGNED)


def matched(policy: Manifest) -> Manifest:
    """The one rule that says which requests a policy looks at."""
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    return rule


@each_signed
def test_names_are_checked_on_every_server_and_filled_in_where_the_server_can(what: str) -> None:
    # Given a server without the mutating kind, the user writes his name and nothing promises to fill it in
    assert not [manifest for manifest in manifests(EXTERNAL) if manifest["kind"] in MUTATING]
    checks = named("ValidatingAdmissionPolicy", f"parley-{what}")
    assert "leave it out" not in checks["spec"]["validations"][0]["messageExpression"]
    # Given one with it, the refusal says what is easiest
    checks = named("ValidatingAdmissionPolicy", f"parley-{what}", SIGNING)
    assert "leave it out" in checks["spec"]["validations"][0]["messageExpression"]
    signing = [manifest for manifest in manifests(SIGNING) if manifest["kind"] in MUTATING]
    assert len(signing) == 2 * len(SIGNED)


@pytest.mark.parametrize(
    ("name", "kind", "resource", "operations"),
    [
        ("reply-signature", "MutatingAdmissionPolicy", "replies", ["CREATE"]),
        ("reply", "ValidatingAdmissionPolicy", "replies", ["CREATE", "UPDATE"]),
        # A Session is changed to have its history cleared, and may be made with that wish.
        ("clear-history-signature", "MutatingAdmissionPolicy", "sessions", ["CREATE", "UPDATE"]),
        ("clear-history", "ValidatingAdmissionPolicy", "sessions", ["CREATE", "UPDATE"]),
    ],
)
def test_what_is_signed_is_checked_too(name: str, kind: str, resource: str, operations: list[str]) -> None:
    policy = named(kind, f"parley-{name}", SIGNING)
    rule = matched(policy)
    assert (rule["apiGroups"], rule["resources"]) == (["parley.dev"], [resource])
    assert rule["operations"] == operations
    # A policy that cannot be evaluated must refuse: an unsigned approval is worse than none.
    assert policy["spec"]["failurePolicy"] == "Fail"


def test_other_changes_of_a_session_cost_nothing() -> None:
    for name, kind in (("clear-history-signature", KINDS[0]), ("clear-history", KINDS[1])):
        conditions = named(kind, f"parley-{name}", SIGNING)["spec"]["matchConditions"]
        assert "has(object.spec.clearHistory)" in conditions[0]["expression"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_is_bound_and_denies(kind: str) -> None:
    policies = of_kind(kind, SIGNING)
    bindings = of_kind(f"{kind}Binding", SIGNING)
    assert {binding["spec"]["policyName"] for binding in bindings} == {
        policy["metadata"]["name"] for policy in policies
    }
    assert len(policies) == len(bindings) == len(SIGNED)
    if kind == "ValidatingAdmissionPolicy":
        assert [binding["spec"]["validationActions"] for binding in bindings] == [["Deny"]] * len(SIGNED)


@pytest.mark.parametrize("kind", KINDS)
def test_a_release_that_serves_some_namespaces_minds_only_those(kind: str) -> None:
    for everywhere in of_kind(kind, SIGNING):
        assert "namespaceSelector" not in everywhere["spec"]["matchConstraints"]
    for restricted in of_kind(kind, RESTRICTED):
        assert restricted["spec"]["matchConstraints"]["namespaceSelector"] == {
            "matchExpressions": [
                {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "desk"]}
            ]
        }
    # and two such releases of one name do not meet
    names = {policy["metadata"]["name"] for policy in of_kind(kind, RESTRICTED)}
    assert not names & {policy["metadata"]["name"] for policy in of_kind(kind, RESTRICTED, namespace="other")}
