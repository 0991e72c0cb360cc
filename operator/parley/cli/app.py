"""What a command is given: the settings of its command line, and the ways to the cluster and to the gateway."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from parley.cli.kube import Kube
    from parley.client import Parley

Format = Literal["table", "wide", "json", "yaml", "name"]


@dataclass(slots=True)
class Settings:
    """What the options say that every command has.

    Attributes:
        kubeconfig: a file; None: KUBECONFIG, else ~/.kube/config, as kubectl takes it.
        context: of the kubeconfig; None: its current one.
        namespace: None: the context's.
        gateway: a URL; None: a port-forward to the gateway's Service.
        token: for the gateway; None: the kubeconfig's.
        service_account: ``namespace/name``, to ask the cluster for a token of.
        system_namespace: where Parley is installed; None: wherever its Service is found.
        user: whom the caller acts for, in the gateway.
        token_is_typed: the token stands in the command line, not in the environment.
    """

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    gateway: str | None = None
    token: str | None = field(default=None, repr=False)
    service_account: str | None = None
    system_namespace: str | None = None
    user: str | None = None
    token_is_typed: bool = False
    output: Format = "table"


def _live_kube(settings: Settings) -> "Kube":
    from parley.cli.live_kube import LiveKube

    return LiveKube.open(settings.kubeconfig, settings.context)


def _live_gateway(app: "App") -> "AbstractContextManager[Parley]":
    from parley.cli.gateway import connect

    return connect(app)


class App:
    """One run of ``parley``. Tests bring their own ways to the cluster and to the gateway."""

    def __init__(
        self,
        open_kube: "Callable[[Settings], Kube]" = _live_kube,
        open_gateway: "Callable[[App], AbstractContextManager[Parley]]" = _live_gateway,
    ) -> None:
        self.settings = Settings()
        self._open_kube = open_kube
        self._open_gateway = open_gateway
        self._kube: Kube | None = None

    @property
    def kube(self) -> "Kube":
        """The API server, under the caller's own identity."""
        if self._kube is None:
            self._kube = self._open_kube(self.settings)
        return self._kube

    @property
    def namespace(self) -> str:
        """The namespace the command is about; without a cluster to ask, ``default``."""
        if self.settings.namespace:
            return self.settings.namespace
        if self.settings.gateway and self.settings.token and self._kube is None:
            return "default"
        return self.kube.namespace

    def gateway(self) -> "AbstractContextManager[Parley]":
        """The gateway, as a client for ``namespace``."""
        return self._open_gateway(self)


pass_app = click.make_pass_decorator(App, ensure=True)
