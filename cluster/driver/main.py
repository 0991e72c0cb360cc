"""The command line: `cluster/cluster COMMAND`."""

import argparse
import sys

from cluster.driver.console import ClusterError, say
from cluster.driver.layout import from_environment
from cluster.driver.local import LocalCluster


def main() -> int:
    parser = argparse.ArgumentParser(prog="cluster", description="A one-node Kubernetes on this machine, without Docker.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up", help="bring the cluster up")
    commands.add_parser("down", help="end the cluster and delete its state")
    commands.add_parser("status", help="say which components run")
    commands.add_parser("kubeconfig", help="print the kubeconfig's path")
    for name in ("start", "stop", "kill", "restart"):
        commands.add_parser(name, help=f"{name} one component").add_argument("component")
    arguments = parser.parse_args()
    cluster = LocalCluster(from_environment())
    try:
        return _run(cluster, arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("interrupted; run it again to go on")
        return 130


def _run(cluster: LocalCluster, arguments: argparse.Namespace) -> int:
    match arguments.command:
        case "up":
            cluster.up()
        case "down":
            cluster.down()
        case "status":
            return 0 if cluster.status() else 1
        case "kubeconfig":
            print(cluster.layout.kubeconfig)
        case "start":
            cluster.start(arguments.component)
        case "stop":
            cluster.stop(arguments.component)
        case "kill":
            cluster.kill(arguments.component)
        case "restart":
            cluster.stop(arguments.component)
            cluster.start(arguments.component)
        case _:
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
