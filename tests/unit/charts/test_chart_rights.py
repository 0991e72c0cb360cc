"""Who may do what: the roles of the chart parley."""

import pytest

from tests.unit.charts.rendering import (
    ALL_SETTINGS,
    EXTERNAL,
    Manifest,
    environment,
    manifests,
    named,
    of_kind,
    pod_templates,
    rules,
)


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_only_operator_and_gateway_get_an_api_token(settings: tuple[str, ...]) -> None:
    with_token = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]
        for _, template in pod_templates(settings)
        if template["spec"]["automountServiceAccountToken"]
    }
    assert with_token == {"operator", "gateway"}
    for account in of_kind("ServiceAccount", settings):
        assert account["automountServiceAccountToken"] is False


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_no_role_touches_secrets_or_grants_everything(settings: tuple[str, ...]) -> None:
    seen = 0
    for what, rule in rules(settings):
        named_things = {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert "*" not in named_things, what
        assert not named_things & {
            "secrets",
            "impersonate",
            "escalate",
            "bind",
            "pods/exec",
            "pods/attach",
        }, what
        seen += 1
    assert seen >= 8


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_the_operator_writes_neither_spec_nor_metadata_of_parleys_kinds(settings: tuple[str, ...]) -> None:
    for what, rule in rules(settings):
        if "parley.dev" in rule["apiGroups"] and "-operator" in what:
            statuses = [resource for resource in rule["resources"] if resource.endswith("/status")]
            assert rule["verbs"] == (["patch"] if statuses else ["get", "list", "watch"]), what
            assert statuses in ([], rule["resources"]), what


def test_rights_are_for_the_cluster_or_for_the_namespaces_watched() -> None:
    def rights(settings: tuple[str, ...], where: str) -> set[str]:
        """Resources that are granted in the whole cluster (ClusterRole) or in single namespaces (Role)."""
        return {
            resource
            for what, rule in rules(settings)
            if what.startswith(f"{where} ") and not what.endswith(("-view", "-edit", "-admin"))
            for resource in rule["resources"]
        }

    served = {
        "agents",
        "sessions",
        "tasks",
        "agents/status",
        "sessions/status",
        "tasks/status",
        "jobs",
        "pods",
    }
    everywhere, restricted = EXTERNAL, (*EXTERNAL, "watchNamespaces={shop,desk}")
    assert rights(everywhere, "ClusterRole") == served | {"events", "namespaces", "nodes", "tokenreviews"}
    assert rights(everywhere, "Role") == {"leases", "configmaps", "events"}
    assert rights(restricted, "ClusterRole") == {"namespaces", "nodes", "tokenreviews"}
    assert rights(restricted, "Role") == served | {"leases", "configmaps", "events"}
    assert {
        role["metadata"]["namespace"]
        for role in of_kind("Role", restricted)
        if role["metadata"]["name"].endswith("-serves")
    } == {"shop", "desk"}
    operator = named("Deployment", "parley-operator", restricted)["spec"]["template"]["spec"]["containers"][0]
    assert environment(operator)["PARLEY_WATCH_NAMESPACES"] == "shop,desk"


@pytest.mark.parametrize("settings", ALL_SETTINGS)
def test_every_role_is_bound_to_an_account_of_the_release(settings: tuple[str, ...]) -> None:
    everything = manifests(settings)

    def key(manifest: Manifest) -> tuple[str, str, str]:
        return manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"]

    known = {key(manifest) for manifest in everything}
    assert len(known) == len(everything)
    bound = set()
    for manifest in everything:
        if manifest["kind"] in {"RoleBinding", "ClusterRoleBinding"}:
            namespace = manifest["metadata"].get("namespace", "")
            role = (manifest["roleRef"]["kind"], namespace, manifest["roleRef"]["name"])
            assert role in known
            bound.add(role)
            for subject in manifest["subjects"]:
                assert ("ServiceAccount", subject["namespace"], subject["name"]) in known
    roles = {entry for entry in known if entry[0] in {"Role", "ClusterRole"}}
    assert {name for _, _, name in roles - bound if not name.endswith(("-view", "-edit", "-admin"))} == set()


def test_people_get_parleys_kinds_with_the_clusters_own_roles() -> None:
    aggregated = {}
    for role in of_kind("ClusterRole"):
        for label in role["metadata"]["labels"]:
            if label.startswith("rbac.authorization.k8s.io/aggregate-to-"):
                verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
                aggregated[label.removeprefix("rbac.authorization.k8s.io/aggregate-to-")] = verbs
                assert {resource for rule in role["rules"] for resource in rule["resources"]} == {
                    "agents",
                    "sessions",
                    "tasks",
                }
    reads = {"get", "list", "watch"}
    writes = {"create", "update", "patch", "delete", "deletecollection"}
    assert aggregated == {"view": reads, "edit": reads | writes, "admin": reads | writes}
    assert not [
        role for role in of_kind("ClusterRole", (*EXTERNAL, "userRoles.create=false")) if "edit" in str(role)
    ]
