"""What the routes for people need beside the store, in one place: the app's ``state.people``."""

from dataclasses import dataclass
from typing import Self

from fastapi import Request

from parley.gateway.access.caller import Callers
from parley.gateway.access.permission import Permissions
from parley.gateway.access.rates import Rates, StreamRoom
from parley.gateway.access.sessions import Sessions
from parley.gateway.settings import GatewaySettings
from parley.kube.client import KubeApi


@dataclass(frozen=True, slots=True)
class People:
    """Who calls, what they may do, and the Sessions they mean.

    Attributes:
        body_seconds: how long a body may take to arrive.
    """

    kube: KubeApi
    callers: Callers
    permissions: Permissions
    sessions: Sessions
    rates: Rates
    streams: StreamRoom
    body_seconds: float

    @classmethod
    def over(cls, kube: KubeApi, settings: GatewaySettings) -> Self:
        """Make all of it over one API server."""
        return cls(
            kube=kube,
            callers=Callers(kube),
            permissions=Permissions(kube),
            sessions=Sessions(kube),
            rates=Rates(settings.requests_per_second, settings.request_burst),
            streams=StreamRoom(settings.streams_per_caller),
            body_seconds=settings.body_seconds,
        )


def people_of(request: Request) -> People:
    """The app's; for ``Depends``."""
    return request.app.state.people
