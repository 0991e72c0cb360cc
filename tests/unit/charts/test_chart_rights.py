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

WRITTEN = {"agents", "sessions", "tasks", "tasktemplates", "schedules"}
READS = {"get", "list", "watch"}
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
OF_PEOPLE = ("-view", "-edit", "-admin", "-approver", "-own-sessions", "-backend")


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
def test_the_operator_changes_nothing_that_a_user_wrote(settings: tuple[str, ...]) -> None:
    changes: set[tuple[str, str]] = set()
    for what, rule in rules(settings):
        if "parley.dev" in rule["apiGroups"] and "-operator" in what:
            changes |= {
                (resource, verb)
                for resource in rule["resources"]
                for verb in set(rule["verbs"]) - {"get", "list", "watch"}
                if "/" not in resource
            }
            parts = {name.partition("/")[2] for name in rule["resources"]}
            assert parts == {""} or (parts, rule["verbs"]) == ({"status"}, ["patch"])
    # It makes Tasks and takes them away; a Reply's owner it writes into its metadata, and its spec is immutable.
    assert changes == {("tasks", "create"), ("tasks", "delete"), ("replies", "patch")}


def test_rights_are_for_the_cluster_or_for_the_namespaces_watched() -> None:
    def rights(settings: tuple[str, ...], where: str) -> set[str]:
        """Resources that are granted in the whole cluster (ClusterRole) or in single namespaces (Role)."""
        return {
            resource
            for what, rule in rules(settings)
            if what.startswith(f"{where} ") and not what.endswith(OF_PEOPLE)
            for resource in rule["resources"]
        }

    kinds = WRITTEN | {"replies"}
    served = (
        kinds
        | {f"{kind}/status" for kind in kinds}
        | {"jobs", "pods", "pods/log", "deployments", "replicasets"}
    )
    asked = {"tokenreviews", "subjectaccessreviews", "users", "groups", "serviceaccounts"}
    everywhere, restricted = EXTERNAL, (*EXTERNAL, "watchNamespaces={shop,desk}")
    assert rights(everywhere, "ClusterRole") == served | {"events", "namespaces", "nodes"} | asked
    assert rights(everywhere, "Role") == {"leases", "configmaps", "events"}
    assert rights(restricted, "ClusterRole") == {"namespaces", "nodes"} | asked
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
    assert {name for _, _, name in roles - bound if not name.endswith(OF_PEOPLE)} == set()


def verbs_of(role: Manifest, *resources: str) -> set[str]:
    """What a role lets do with all of the resources."""
    rules_of_each = [
        {verb for rule in role["rules"] if resource in rule["resources"] for verb in rule["verbs"]}
        for resource in resources
    ]
    assert all(verbs == rules_of_each[0] for verbs in rules_of_each), role
    return rules_of_each[0]


def test_people_get_parleys_kinds_with_the_clusters_own_roles() -> None:
    aggregated = {
        label.removeprefix("rbac.authorization.k8s.io/aggregate-to-"): role
        for role in of_kind("ClusterRole")
        for label in role["metadata"]["labels"]
        if label.startswith("rbac.authorization.k8s.io/aggregate-to-")
    }
    assert {name: verbs_of(role, *WRITTEN) for name, role in aggregated.items()} == {
        "view": READS,
        "edit": READS | WRITES,
        "admin": READS | WRITES,
    }
    assert not [
        role for role in of_kind("ClusterRole", (*EXTERNAL, "userRoles.create=false")) if "edit" in str(role)
    ]


def roles_of_people() -> dict[str, Manifest]:
    return {name: named("ClusterRole", f"parley{name}") for name in OF_PEOPLE}


def test_what_was_said_is_for_editors_and_what_is_imported_for_admins() -> None:
    roles = roles_of_people()
    of_editors = {
        ("sessions/events", "get"),
        ("sessions/export", "get"),
        ("sessions/context", "get"),
        ("sessions/context", "patch"),
        ("sessions/messages", "create"),
    }
    own = {("sessions/own", verb) for verb in ("get", "list", "create", "patch", "delete")}
    assert {name: subresources_of(role) for name, role in roles.items()} == {
        "-view": set(),
        "-edit": of_editors,
        "-admin": of_editors | own | {("sessions/import", "create"), ("users", "act-for")},
        "-approver": set(),
        "-own-sessions": own,
        "-backend": own | {("users", "act-for")},
    }
    for name in ("-own-sessions", "-backend"):
        assert not [label for label in roles[name]["metadata"]["labels"] if "aggregate" in label]


def subresources_of(role: Manifest) -> set[tuple[str, str]]:
    """What a role lets do at the gateway only."""
    return {
        (resource, verb)
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if "/" in resource or resource == "users"
    }


def test_who_may_edit_tasks_may_not_answer_for_a_person() -> None:
    named_roles = roles_of_people()
    assert {name: verbs_of(role, "replies") for name, role in named_roles.items()} == {
        "-view": READS,
        "-edit": READS,
        "-approver": READS | {"create", "patch"},
        # An admin may bind the approver's role: nobody can give away a right they lack.
        "-admin": READS | {"create", "patch", "delete", "deletecollection"},
        "-own-sessions": set(),
        "-backend": set(),
    }
    approver = named_roles["-approver"]
    assert verbs_of(approver, "tasks") == READS
    assert not [label for label in approver["metadata"]["labels"] if "aggregate" in label]
    assert verbs_of(approver, "replies") <= verbs_of(named_roles["-admin"], "replies")
