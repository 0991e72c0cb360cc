"""The command line: `cluster/cluster COMMAND`."""

import argparse
import os
import sys
from pathlib import Path

from cluster.driver import kind, node_images, postgres
from cluster.driver.charts import Installer
from cluster.driver.console import ClusterError, say
from cluster.driver.kind import KindCluster
from cluster.driver.layout import DATABASE, Layout, from_environment
from cluster.driver.local import LocalCluster


def main() -> int:
    """Run one command; the exit code is 0, or 1 with a sentence on stderr."""
    arguments, words = _parser().parse_known_args()
    if words and arguments.command != "psql":
        _parser().error(f"unknown arguments: {' '.join(words)}")
    arguments.words = words
    layout = from_environment()
    try:
        chosen = _choose(layout)
        if isinstance(chosen, KindCluster):
            return _run_kind(chosen, arguments)
        return _run_local(chosen, arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cluster/cluster", description="A one-node Kubernetes for Parley on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring the cluster up; quick when it is")
    up.add_argument(
        "--install", action="store_true", help="also build and load the image and install the charts"
    )
    commands.add_parser("down", help="end the cluster and delete its state; caches stay")
    commands.add_parser("kubeconfig", help="print the kubeconfig's path")
    commands.add_parser("image", help="build and load the image of the present sources; print its reference")
    local = "(local cluster only)"
    commands.add_parser("status", help=f"say which components run {local}")
    commands.add_parser("load", help=f"load an image archive into the node {local}").add_argument("archive")
    commands.add_parser(
        "database-url", help=f"print the URL of Parley's database as this machine's superuser {local}"
    )
    commands.add_parser(
        "psql", help=f"open psql on Parley's database {local}", add_help=False, allow_abbrev=False
    )
    for name in ("start", "stop", "kill", "restart"):
        commands.add_parser(name, help=f"{name} one component {local}").add_argument("component")
    return parser


def _choose(layout: Layout) -> LocalCluster | KindCluster:
    wanted = os.environ.get("CLUSTER", "")
    if wanted not in {"", "kind", "local"}:
        raise ClusterError(f"CLUSTER={wanted!r}: it is kind or local")
    if wanted == "kind" or (not wanted and kind.is_available()):
        return KindCluster(layout)
    return LocalCluster(layout)


def _run_kind(cluster: KindCluster, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            cluster.up()
            if arguments.install:
                installer = Installer(Path("kubectl"), Path("helm"), cluster.kubeconfig, cluster.records)
                installer.install(cluster.ensure_image(), cluster.database_url())
        case "down":
            cluster.down()
        case "kubeconfig":
            print(cluster.kubeconfig)
        case "image":
            print(cluster.ensure_image())
        case command:
            raise ClusterError(f"`{command}` is for the local cluster; with kind use docker and kubectl")
    return 0


def _run_local(cluster: LocalCluster, arguments: argparse.Namespace) -> int:
    layout = cluster.layout
    match arguments.command:
        case "up":
            _up_local(cluster, install=arguments.install)
        case "down":
            cluster.down()
        case "status":
            return 0 if cluster.status() else 1
        case "kubeconfig":
            print(layout.kubeconfig)
        case "image":
            with cluster.locked():
                print(node_images.ensure_image(layout))
        case "load":
            node_images.load_archive(layout, Path(arguments.archive))
        case "database-url":
            print(postgres.superuser_url(layout, DATABASE))
        case "psql":
            psql = postgres.psql(layout)
            os.execv(psql, [str(psql), postgres.superuser_url(layout, DATABASE), *arguments.words])
        case _:
            _change_component(cluster, arguments.command, arguments.component)
    return 0


def _up_local(cluster: LocalCluster, *, install: bool) -> None:
    cluster.up()
    if install:
        layout = cluster.layout
        with cluster.locked():
            installer = Installer(
                layout.bin / "kubectl", layout.bin / "helm", layout.kubeconfig, layout.records
            )
            installer.install(node_images.ensure_image(layout), postgres.service_url(layout))


def _change_component(cluster: LocalCluster, command: str, name: str) -> None:
    if command in {"stop", "restart"}:
        cluster.stop(name)
    if command == "kill":
        cluster.kill(name)
    if command in {"start", "restart"}:
        cluster.start(name)


if __name__ == "__main__":
    sys.exit(main())
