"""containerd, kubelet, kube-proxy and CoreDNS."""

import json
from pathlib import Path

from cluster.driver.component import Component
from cluster.driver.layout import DOMAIN, NODE_NAME, PAUSE_IMAGE, Layout
from cluster.driver.probes import http_ok, tcp_open, unix_open

_CNI_PLUGINS = "/usr/lib/cni"


def containerd(layout: Layout) -> Component:
    state = layout.run / "containerd"
    network = {
        "cniVersion": "1.0.0",
        "name": "parley",
        "plugins": [
            {
                "type": "bridge",
                "bridge": layout.bridge,
                "isGateway": True,
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": layout.pod_network, "gateway": layout.address}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": str(layout.run / "addresses"),
                },
            },
        ],
    }
    config = f"""\
version = 2
root = "{layout.data}/containerd"
state = "{state}"
[grpc]
  address = "{layout.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{_CNI_PLUGINS}"
    conf_dir = "{layout.config}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""
    file = layout.config / "containerd.toml"
    return Component(
        name="containerd",
        argv=("containerd", "--config", str(file), "--log-level=warn"),
        files={file: config, layout.config / "cni" / "10-parley.conflist": json.dumps(network)},
        ready=lambda at: unix_open(at.containerd_socket),
    )


def kubelet(layout: Layout) -> Component:
    certificates = layout.certificates
    kubeconfig = layout.kubeconfig_of("kubelet")
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": layout.address,
        "healthzBindAddress": layout.address,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{certificates}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{certificates}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{certificates}/kubelet-server.key",
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.cgroup}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "makeIPTablesUtilChains": False,
        # Without CAP_SYS_RESOURCE the kubelet may not lower its own score.
        "oomScoreAdj": 0,
        # The disk is shared with whatever else this machine does.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "clusterDNS": [layout.address],
        "clusterDomain": DOMAIN,
        "podLogsDir": str(layout.logs / "pods"),
        "volumePluginDir": str(layout.data / "volume-plugins"),
    }
    file = layout.config / "kubelet.json"
    return Component(
        name="kubelet",
        argv=(
            str(layout.bin / "kubelet"),
            f"--config={file}",
            f"--kubeconfig={kubeconfig}",
            f"--root-dir={layout.data}/kubelet",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={layout.address}",
        ),
        files={file: json.dumps(config, indent=1)},
        needs=(layout.bin / "kubelet", certificates / "kubelet-server.crt", kubeconfig),
        ready=lambda at: http_ok(f"http://{at.address}:10248/healthz"),
    )


def kube_proxy(layout: Layout) -> Component:
    kubeconfig = layout.kubeconfig_of("kube-proxy")
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "bindAddress": layout.address,
        "healthzBindAddress": f"{layout.address}:10256",
        "metricsBindAddress": f"{layout.address}:10249",
        "clusterCIDR": layout.pod_network,
        "hostnameOverride": NODE_NAME,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        # Zero leaves the machine's own conntrack limits alone.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        "nftables": {"masqueradeAll": False, "minSyncPeriod": "100ms"},
    }
    file = layout.config / "kube-proxy.json"
    return Component(
        name="kube-proxy",
        argv=(str(layout.bin / "kube-proxy"), f"--config={file}"),
        files={file: json.dumps(config, indent=1)},
        needs=(layout.bin / "kube-proxy", kubeconfig),
        ready=lambda at: http_ok(f"http://{at.address}:10256/livez"),
    )


def coredns(layout: Layout) -> Component:
    kubeconfig = layout.kubeconfig_of("coredns")
    forward = "    forward . /etc/resolv.conf\n" if _has_nameserver(Path("/etc/resolv.conf")) else ""
    corefile = f"""\
. {{
    bind {layout.address}
    errors
    cache 30 {{
        success 9984 5
        denial 9984 1
    }}
    kubernetes {DOMAIN} in-addr.arpa {{
        kubeconfig {kubeconfig}
    }}
{forward}}}
"""
    file = layout.config / "Corefile"
    return Component(
        name="coredns",
        argv=(str(layout.bin / "coredns"), "-conf", str(file)),
        files={file: corefile},
        needs=(layout.bin / "coredns", kubeconfig),
        ready=lambda at: tcp_open(at.address, 53),
    )


def _has_nameserver(file: Path) -> bool:
    try:
        return any(line.startswith("nameserver") for line in file.read_text().splitlines())
    except FileNotFoundError:
        return False
