"""The pod bridge, its address translation and the kernel switches it needs."""

import json
from pathlib import Path

from cluster.driver.commands import run, succeeds
from cluster.driver.layout import Layout


def ensure_network(layout: Layout) -> None:
    """Make the bridge with the node's address; what exists already is left as it is."""
    if not has_link(layout.bridge):
        run(["ip", "link", "add", layout.bridge, "type", "bridge"])
    # A bridge that was not given an address of its own has the lowest of what is plugged in. Pods come and go, so it
    # changed each minute, and a pod that knew the old one reached neither names nor Services for up to a minute.
    own = Path(f"/sys/class/net/{layout.bridge}/address").read_text().strip()
    run(["ip", "link", "set", "dev", layout.bridge, "address", own])
    if f"inet {layout.address}/16" not in run(["ip", "-4", "address", "show", "dev", layout.bridge]):
        run(["ip", "address", "replace", f"{layout.address}/16", "dev", layout.bridge])
    run(["ip", "link", "set", layout.bridge, "up"])
    # Lets this machine reach Services also where it has no default route.
    run(["ip", "route", "replace", layout.service_network, "dev", layout.bridge])
    _set("net/ipv4/ip_forward", "1")
    # Without it, replies between two pods on the bridge pass by kube-proxy's translation.
    if not _set("net/bridge/bridge-nf-call-iptables", "1"):
        succeeds(["modprobe", "br_netfilter"])
        _set("net/bridge/bridge-nf-call-iptables", "1")
    run(["nft", "-f", "-"], text=_masquerade(layout))


def remove_network(layout: Layout) -> None:
    """Take away the bridge and the tables, kube-proxy's too."""
    if has_link(layout.bridge):
        run(["ip", "link", "delete", layout.bridge])
    for family, table in (("ip", layout.bridge), ("ip", "kube-proxy"), ("ip6", "kube-proxy")):
        succeeds(["nft", "delete", "table", family, table])


def has_link(name: str) -> bool:
    return succeeds(["ip", "link", "show", "dev", name])


def links_on_bridge(layout: Layout) -> list[str]:
    """Return the names of the pods' links that are plugged into the bridge."""
    if not has_link(layout.bridge):
        return []
    found: list[dict[str, str]] = json.loads(
        run(["ip", "-json", "link", "show", "master", layout.bridge]) or "[]"
    )
    return [link["ifname"] for link in found]


def _masquerade(layout: Layout) -> str:
    pods = layout.pod_network
    return f"""\
table ip {layout.bridge} {{}}
delete table ip {layout.bridge}
table ip {layout.bridge} {{
  chain outgoing {{
    type nat hook postrouting priority srcnat;
    ip saddr {pods} ip daddr != {pods} masquerade
  }}
}}
"""


def _set(switch: str, value: str) -> bool:
    path = Path("/proc/sys") / switch
    if not path.exists():
        return False
    if path.read_text().strip() != value:
        path.write_text(value)
    return True
