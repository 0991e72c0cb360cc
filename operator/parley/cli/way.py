"""Which way a command goes that can ask either the API server or the gateway."""

from parley.cli.app import App
from parley.cli.failures import CliError, NoCluster


def is_gateway_chosen(app: App, *, everywhere: bool = False) -> bool:
    """Whether the command line, or the environment, chooses the gateway over the API server.

    A URL alone does where there is a token for it: a kubeconfig with a certificate asks the API server on.

    Raises:
        CliError: it does, and all namespaces are asked for.
    """
    settings, named = app.settings, is_somebody_named(app)
    if everywhere:
        if named:
            raise CliError(
                "-A asks the API server as your kubeconfig does: the gateway answers for one namespace",
                "leave out -A and name one with -n; or leave out --token, --as-user and --as-service-account, which "
                "needs the right to list the kind in all namespaces",
            )
        return False
    if settings.gateway is None:
        return named
    try:
        return named or bool(settings.token or app.kube.token())
    except NoCluster:
        # Whoever connects to it says that a token is missing.
        return True


def is_somebody_named(app: App) -> bool:
    """Whether the command line says in whose name to ask, which only the gateway can."""
    settings = app.settings
    return settings.user is not None or settings.service_account is not None or settings.token_is_typed


def is_cluster_known(app: App) -> bool:
    """Whether there is an API server to send the caller to."""
    try:
        return bool(app.kube.server)
    except CliError:
        return False
