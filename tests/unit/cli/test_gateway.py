"""Where the gateway is, and with which token it is asked."""

import pytest
from parley.cli.app import App
from parley.cli.failures import CliError
from parley.cli.gateway import client, find_gateway, lasting_token, token_for
from parley.cli.kube import DEPLOYMENT, SERVICE
from parley.kube.errors import KubeUnavailable

from tests.unit.cli.cluster import FakeCluster


def test_the_token_is_the_one_given_or_a_service_accounts_or_the_kubeconfigs(cluster: FakeCluster) -> None:
    app = App(open_kube=lambda _settings: cluster)
    assert token_for(app) == "token-of-the-user"

    app.settings.service_account = "shop/talker"
    assert token_for(app) == "token-of-shop-talker"

    app.settings.namespace, app.settings.service_account = "office", "talker"
    assert token_for(app) == "token-of-office-talker"

    app.settings.token = "given"
    assert token_for(app) == "given"


def test_a_command_that_stays_open_asks_for_a_new_token_before_the_old_one_is_over(
    cluster: FakeCluster,
) -> None:
    app, clock = App(open_kube=lambda _settings: cluster), [0.0]
    token = lasting_token(app, lambda: clock[0])
    assert callable(token)

    # Given a login that gives another token by now
    cluster.user_token = "a-newer-token"
    assert token() == "token-of-the-user", "there is no need yet"

    # When the first is five minutes old
    clock[0] = 300
    cluster.away = KubeUnavailable(0, "Unreachable", "gone")
    assert token() == "token-of-the-user", "the cluster is away for a moment"
    cluster.away = None
    assert token() == "a-newer-token"

    # But a token that was given is all there is
    app.settings.token = "given"
    assert lasting_token(app) == "given"


def test_a_command_that_has_no_token_fails_at_once(cluster: FakeCluster) -> None:
    cluster.user_token = None

    with pytest.raises(CliError, match="logs in with a certificate"):
        lasting_token(App(open_kube=lambda _settings: cluster))


def test_who_has_a_certificate_only_is_told_how_to_get_a_token(cluster: FakeCluster) -> None:
    cluster.user_token = None
    app = App(open_kube=lambda _settings: cluster)

    with pytest.raises(CliError) as raised:
        token_for(app)
    assert "--as-service-account NAME" in str(raised.value.hint)

    app.settings.service_account = "shop/"
    with pytest.raises(CliError, match="this is no ServiceAccount"):
        token_for(app)


def test_the_gateway_is_found_by_its_labels(cluster: FakeCluster) -> None:
    app = App(open_kube=lambda _settings: cluster)
    labels = {"app.kubernetes.io/name": "parley", "app.kubernetes.io/component": "gateway"}
    with pytest.raises(CliError, match="there is no gateway"):
        find_gateway(app)

    cluster.put(SERVICE, "parley-gateway", "parley-system", metadata={"labels": labels})
    assert find_gateway(app)["metadata"]["name"] == "parley-gateway"

    cluster.put(SERVICE, "parley-gateway", "other", metadata={"labels": labels})
    with pytest.raises(CliError, match="several gateways, in other, parley-system"):
        find_gateway(app)
    app.settings.system_namespace = "other"
    assert find_gateway(app)["metadata"]["namespace"] == "other"

    app.settings.system_namespace = None
    for namespace, watched in (("parley-system", ""), ("other", "shop,office")):
        env = [{"name": "PARLEY_WATCH_NAMESPACES", "value": watched}]
        spec = {"replicas": 1, "template": {"spec": {"containers": [{"env": env}]}}}
        operator = {"labels": labels | {"app.kubernetes.io/component": "operator"}}
        cluster.put(DEPLOYMENT, "parley-operator", namespace, metadata=operator, spec=spec)
    assert find_gateway(app)["metadata"]["namespace"] == "other", "it is there for this namespace"
    app.settings.namespace = "lab"
    assert find_gateway(app)["metadata"]["namespace"] == "parley-system", (
        "the other serves shop and office only"
    )

    cluster.forbidden.add(("list", "services"))
    with pytest.raises(CliError) as raised:
        find_gateway(app)
    assert "--gateway URL" in str(raised.value.hint)


def test_with_a_url_and_a_token_no_cluster_is_needed() -> None:
    def no_cluster(_settings: object) -> FakeCluster:
        raise AssertionError("the cluster was asked")

    app = App(open_kube=no_cluster)
    app.settings.gateway, app.settings.token = "https://parley.company.com", "given"

    with client(app, "https://parley.company.com", token_for(app)) as parley:
        assert parley.namespace == "default"
