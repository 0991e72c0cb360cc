"""Is a component ready? Each answer takes at most a second or two."""

import socket
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from cluster.driver.layout import Layout


def https_ok(layout: Layout, url: str, client: str = "admin") -> bool:
    """Ask `url` with a client certificate of the cluster."""
    try:
        context = ssl.create_default_context(cafile=str(layout.certificates / "ca.crt"))
        context.load_cert_chain(layout.certificates / f"{client}.crt", layout.certificates / f"{client}.key")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def http_ok(url: str) -> bool:
    """Ask `url` in plain HTTP, past any proxy."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def tcp_open(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def unix_open(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
