"""What the API server is told about Replies; what it makes of it is tested on a real one (e2e)."""

import pytest

from tests.unit.charts.rendering import EXTERNAL, SIGNING, Manifest, manifests, named, of_kind

MUTATING = ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding")
RESTRICTED = (*SIGNING, "watchNamespaces={shop,desk}")


def matched(policy: Manifest) -> Manifest:
    """The one rule that says which requests a policy looks at."""
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    return rule


def test_names_are_checked_on_every_server_and_filled_in_where_the_server_can() -> None:
    # Given a server without the mutating kind, the user writes his name and nothing promises to fill it in
    assert not [manifest for manifest in manifests(EXTERNAL) if manifest["kind"] in MUTATING]
    checks = named("ValidatingAdmissionPolicy", "parley-reply")
    assert "leave it out" not in checks["spec"]["validations"][0]["messageExpression"]
    # Given one with it, the refusal says what is easiest
    checks = named("ValidatingAdmissionPolicy", "parley-reply", SIGNING)
    assert "leave it out" in checks["spec"]["validations"][0]["messageExpression"]
    assert len([manifest for manifest in manifests(SIGNING) if manifest["kind"] in MUTATING]) == 2


def test_creation_is_signed_and_changes_are_checked_too() -> None:
    signs = named("MutatingAdmissionPolicy", "parley-reply-signature", SIGNING)
    checks = named("ValidatingAdmissionPolicy", "parley-reply", SIGNING)
    for policy, operations in ((signs, ["CREATE"]), (checks, ["CREATE", "UPDATE"])):
        rule = matched(policy)
        assert (rule["apiGroups"], rule["resources"]) == (["parley.dev"], ["replies"])
        assert rule["operations"] == operations
        # A policy that cannot be evaluated must refuse: an unsigned approval is worse than none.
        assert policy["spec"]["failurePolicy"] == "Fail"


@pytest.mark.parametrize("kind", ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"])
def test_every_policy_is_bound_and_denies(kind: str) -> None:
    (policy,) = of_kind(kind, SIGNING)
    (binding,) = of_kind(f"{kind}Binding", SIGNING)
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    if kind == "ValidatingAdmissionPolicy":
        assert binding["spec"]["validationActions"] == ["Deny"]


@pytest.mark.parametrize("kind", ["MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"])
def test_a_release_that_serves_some_namespaces_minds_only_those(kind: str) -> None:
    (everywhere,) = of_kind(kind, SIGNING)
    (restricted,) = of_kind(kind, RESTRICTED)
    assert "namespaceSelector" not in everywhere["spec"]["matchConstraints"]
    assert restricted["spec"]["matchConstraints"]["namespaceSelector"] == {
        "matchExpressions": [
            {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "desk"]}
        ]
    }
    # and two such releases of one name do not meet
    (elsewhere,) = of_kind(kind, RESTRICTED, namespace="other")
    assert elsewhere["metadata"]["name"] != restricted["metadata"]["name"]
