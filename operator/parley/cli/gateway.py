"""The CLI's way to the gateway: a URL, or a port-forward; and a token of whoever calls."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from parley.cli.app import App
from parley.cli.failures import CliError, NoCluster
from parley.cli.installations import serving
from parley.cli.kube import SERVICE
from parley.cli.port_forward import PortForward
from parley.cli.reading import name_of, namespace_of, objects, text
from parley.client import InvalidRequest, Parley, ParleyError, Retries, Unreachable
from parley.client.base import Token
from parley.kube.client import JsonObject
from parley.kube.errors import Forbidden, KubeUnavailable

GATEWAY = "app.kubernetes.io/name=parley,app.kubernetes.io/component=gateway"
_USUAL_NAMESPACE = "parley-system"
FOLLOWING = Retries(attempts=60, seconds=120.0)
"""How long a gateway may be away that has answered before: as long as an API server (``following``)."""
_HINTS = {
    401: "the gateway does not know your token: log in again, or give --token",
    403: "ask for the right it names; which roles there are: docs/cli.md",
    404: "look at the name and the namespace (-n); what you may not see is not found either",
    409: "look at what is there now (parley sessions, parley events), then do what it says",
    413: "send less at once",
    415: "this gateway may be of another version than your parley: parley version",
    429: "wait a moment: you ask more than the gateway allows one caller",
}
"""By HTTP status; of those of no mention the gateway's own words say what to mend."""
_FRESH_SECONDS = 300.0
"""How long a token is used: clusters and clouds let one live at least ten minutes."""


@contextmanager
def connect(app: App) -> Generator[Parley]:
    """A client for the command's namespace; what was opened for it is closed in the end.

    Raises:
        CliError: there is no gateway or no token, or the gateway refused; with what to do.
    """
    settings = app.settings
    token = lasting_token(app)
    if settings.gateway:
        with client(app, settings.gateway, token) as parley, explained():
            yield parley
        return
    service = find_gateway(app)
    port = next((text(one, "port") for one in objects(service, "spec", "ports")), "8080")
    arguments = [part for pair in app.kube.arguments().items() for part in pair]
    with (
        PortForward(arguments, namespace_of(service), name_of(service), port) as forward,
        client(app, forward.url, token) as parley,
        explained(),
    ):
        yield parley


def client(app: App, url: str, token: Token) -> Parley:
    """A client with the settings of the command line."""
    return Parley(url, token, namespace=app.namespace, user=app.settings.user)


@contextmanager
def explained() -> Generator[None]:
    """Turn the client's errors into what a user is told."""
    try:
        yield
    except Unreachable as error:
        raise CliError(str(error.problem.detail), "see whether the gateway runs: parley doctor") from error
    except InvalidRequest as error:
        raise CliError(
            f"{_named(error)}{error.problem.detail}", "nothing was sent: mend it and try again"
        ) from error
    except ParleyError as error:
        said = f"{_named(error)}{error.problem.title}: {error.problem.detail or error.status}"
        raise CliError(said, _next_step(error)) from error


def _next_step(error: ParleyError) -> str:
    if error.status >= 500:
        known = f", which knows it as request {error.request_id}" if error.request_id else ""
        return (
            f"try again in a moment; then look at what is wrong: parley doctor, and the gateway's log{known}"
        )
    return _HINTS.get(error.status, "mend what it names, and try again")


def _named(error: ParleyError) -> str:
    """The field that is meant, before what is wrong with it."""
    return f"{error.problem.field}: " if error.problem.field else ""


def lasting_token(app: App, now: Callable[[], float] = time.monotonic) -> Token:
    """What gives the caller's token for as long as a command stays open; the first is there at once.

    Raises:
        CliError: there is none; see ``token_for``.
    """
    token = token_for(app)
    if app.settings.token:
        return token
    made = now()

    def fresh() -> str:
        nonlocal token, made
        if now() - made >= _FRESH_SECONDS:
            try:
                token = token_for(app)
            except KubeUnavailable:
                # The one there is may still be good; the next request asks again.
                return token
            made = now()
        return token

    return fresh


def token_for(app: App) -> str:
    """The caller's token: given, of a ServiceAccount, or the kubeconfig's.

    Raises:
        CliError: there is none, as with a kubeconfig that has a client certificate.
    """
    settings = app.settings
    if settings.token:
        return settings.token
    if settings.service_account:
        namespace, _, name = settings.service_account.rpartition("/")
        if not name:
            raise CliError(
                f"--as-service-account {settings.service_account}: this is no ServiceAccount",
                "write NAME, or NAMESPACE/NAME for one of another namespace",
            )
        return app.kube.service_account_token(namespace or app.namespace, name)
    try:
        token = app.kube.token()
    except NoCluster as error:
        if settings.gateway is None:
            raise
        raise CliError(
            "the gateway needs a token, and there is no kubeconfig to take one from",
            "give --token, or set PARLEY_TOKEN",
        ) from error
    if token is None:
        raise CliError(
            "your kubeconfig logs in with a certificate, and the gateway needs a token",
            "let the cluster make one: --as-service-account NAME (kubectl create serviceaccount NAME), "
            "or give --token / PARLEY_TOKEN",
        )
    return token


def find_gateway(app: App) -> JsonObject:
    """The gateway's Service.

    Raises:
        CliError: there is none, or several.
    """
    wanted = app.settings.system_namespace
    try:
        found = app.kube.list(SERVICE, wanted, labels=GATEWAY).items
    except Forbidden:
        if wanted:
            raise
        # Who may not look everywhere may still look where it usually is.
        try:
            found = app.kube.list(SERVICE, _USUAL_NAMESPACE, labels=GATEWAY).items
        except Forbidden as error:
            raise CliError(
                "you may not look for the gateway's Service",
                "say where it is: --gateway URL (PARLEY_GATEWAY), or --system-namespace NAME",
            ) from error
    if not found:
        where = f"namespace {wanted}" if wanted else "this cluster"
        raise CliError(
            f"there is no gateway of Parley in {where}", "install the chart parley; then parley doctor"
        )
    if len(found) > 1:
        found = _serving(app, found) or found
    if len(found) > 1:
        listed = ", ".join(sorted(namespace_of(one) for one in found))
        raise CliError(
            f"there are several gateways, in {listed}",
            "choose one: --system-namespace NAME (PARLEY_SYSTEM_NAMESPACE)",
        )
    return found[0]


def _serving(app: App, found: Sequence[JsonObject]) -> Sequence[JsonObject]:
    try:
        return serving(app.kube, found, app.namespace)
    except Forbidden:
        return found
