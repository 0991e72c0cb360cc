"""Where the cluster keeps its things and which addresses it uses."""

import os
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
KUBERNETES_VERSION = "v1.37.2"
NODE_NAME = "parley-node"
DOMAIN = "cluster.local"
SYSTEM_NAMESPACE = "parley-system"
POSTGRES_USER = "parley-postgres"
DATABASE = "parley"
PAUSE_IMAGE = "parley.dev/pause:1"


@dataclass(frozen=True, slots=True)
class Layout:
    """Directories, addresses and names of one cluster.

    Everything listens on the bridge's address only: pods and this machine
    reach it, the network outside does not, and no port of the loopback
    address can be taken already.
    """

    root: Path
    cache: Path
    number: int = 0

    @property
    def bridge(self) -> str:
        return f"parley{self.number}"

    @property
    def cgroup(self) -> str:
        return f"parley{self.number}"

    @property
    def pod_network(self) -> str:
        return f"10.{201 + 2 * self.number}.0.0/16"

    @property
    def service_network(self) -> str:
        return f"10.{202 + 2 * self.number}.0.0/16"

    @property
    def address(self) -> str:
        """The node's address: the host's end of the pod bridge."""
        return f"10.{201 + 2 * self.number}.0.1"

    @property
    def first_service_address(self) -> str:
        return f"10.{202 + 2 * self.number}.0.1"

    @property
    def api_url(self) -> str:
        return f"https://{self.address}:6443"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def certificates(self) -> Path:
        return self.root / "certificates"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """What a reboot of the node would clear: pid files, sockets, container state."""
        return self.root / "run"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def records(self) -> Path:
        """What was applied last, so that an unchanged `up` has nothing to do."""
        return self.root / "records"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd" / "containerd.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    def kubeconfig_of(self, component: str) -> Path:
        return self.config / f"{component}.kubeconfig"


def from_environment() -> Layout:
    """Read PARLEY_CLUSTER_DIR, PARLEY_CLUSTER_NUMBER (0 to 20) and XDG_CACHE_HOME."""
    home_cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Layout(
        root=Path(os.environ.get("PARLEY_CLUSTER_DIR", "/var/lib/parley-cluster")).absolute(),
        cache=Path(home_cache) / "parley",
        number=int(os.environ.get("PARLEY_CLUSTER_NUMBER", "0")),
    )
