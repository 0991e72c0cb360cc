"""Logs that are kept, and outputs through files: large ones whole, what is refused, and who holds the token."""

import hashlib
import json

import pytest

from tests.cluster import Cluster, condition, step_of
from tests.e2e.conftest import Store, container, task
from tests.e2e.seen import pods

pytestmark = pytest.mark.cluster

MEBI = 1 << 20


def to_file(script: str) -> dict[str, object]:
    """A container whose output is a file that a Python script writes."""
    return {"image": "parley:dev", "command": ["python3", "-c", script], "outputFrom": "File"}


def write(expression: str) -> str:
    """A Python script that writes some bytes as its output."""
    return f"open('/parley/output', 'wb').write({expression})"


def kept_logs(store: Store, namespace: str) -> dict[str, str]:
    """The log kept of each task's newest attempt."""
    rows = store.rows(
        "SELECT t.name, a.log FROM attempts a JOIN tasks t ON t.uid = a.task_uid WHERE t.namespace = %s ORDER BY a.id",
        namespace,
    )
    return {name: log or "" for name, log in rows}


def test_the_end_of_a_log_is_kept(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given containers that say little, much, nothing, something that is no text, and fail
    scripts = {
        "brief": "echo out; echo err >&2",
        "long": "seq -f %0100g 1 2000; sleep 1",
        "still": "true",
        "bytes": "head -c 300 /dev/urandom; echo; echo end; sleep 1",
        "fails": "echo before; exit 3",
    }
    logs: dict[str, str] = {}
    # A log that cannot be read in two seconds is left out, on a busy machine now and then.
    for again in ("", "-again", "-once-more"):
        names = {name: f"{name}{again}" for name in scripts if not logs.get(name)}
        cluster.apply(
            namespace,
            *(
                task(names[name], steps=[{"name": "only", "container": container(scripts[name])}])
                for name in names
            ),
        )
        for name, made in names.items():
            phase = "Failed" if name == "fails" else "Succeeded"
            assert cluster.wait_task(namespace, made)["status"]["phase"] == phase
        kept = kept_logs(store, namespace)
        logs |= {name: kept[made] for name, made in names.items()}
        if all(log or name == "still" for name, log in logs.items()):
            break

    # Then the end of what they said is in Postgres, and not more than that
    assert set(logs["brief"].split()) == {"out", "err"}
    assert [int(line) for line in logs["long"].split()[-3:]] == [1998, 1999, 2000]
    assert 8 * 1024 < len(logs["long"].encode()) <= 16 * 1024
    assert logs["still"] == ""
    assert logs["bytes"].rstrip().endswith("end")
    assert "before" in logs["fails"]


def test_a_large_output_goes_whole_from_file_to_file(cluster: Cluster, namespace: str, store: Store) -> None:
    # Given a step that writes nearly 16 MiB, and a step that reads them
    size = 16 * MEBI - 16
    digest = (
        "import hashlib, json\n"
        "text = json.load(open('/parley/input.json'))['text']\n"
        "open('/dev/termination-log', 'w').write(hashlib.sha256(text.encode()).hexdigest())"
    )
    text = (f"{number:07d}," for number in range(size // 8))
    expected = hashlib.sha256("".join(text).encode()).hexdigest()
    steps = [
        {
            "name": "write",
            "container": to_file(write(f"''.join(f'{{n:07d}},' for n in range({size // 8})).encode()")),
        },
        {
            "name": "read",
            "container": {
                "image": "parley:dev",
                "command": ["python3", "-c", digest],
                "inputFile": {"text": "{{ steps.write.output }}"},
            },
        },
    ]
    cluster.apply(namespace, task("bulk", steps=steps))

    # When both have run
    ended = cluster.wait_task(namespace, "bulk")

    # Then all of it came through, the store has it whole, and the status the beginning
    assert ended["status"]["phase"] == "Succeeded", cluster.describe(namespace)
    assert ended["status"]["output"] == expected
    [(length,)] = store.rows(
        "SELECT octet_length(o.value::text) FROM outputs o JOIN tasks t ON t.uid = o.task_uid"
        " WHERE t.namespace = %s AND o.step = 'write'",
        namespace,
    )
    assert length == size // 8 * 8 + 2
    shown = step_of(ended, "write")
    assert shown["truncated"] is True
    assert len(json.dumps(ended["status"])) < 64 * 1024


def test_what_a_file_may_hold(cluster: Cluster, namespace: str) -> None:
    # Given files of JSON and of text, none, an empty one, one that is no text, one that is too large, and a failure
    both = "open('/dev/termination-log', 'w').write('message'); " + write("b'[1, 2]'")
    late = write("b'7'") + "; raise SystemExit(3)"
    scripts = {
        "json": write("""b'{"a": [1, null]}'"""),
        "text": write("'Grüße'.encode()"),
        "both": both,
        "none": "pass",
        "empty": write("b''"),
        "binary": write("bytes(range(256))"),
        "huge": write(f"b'x' * {17 * MEBI}"),
        "fails": late,
    }
    cluster.apply(
        namespace,
        *(
            task(name, steps=[{"name": "only", "container": to_file(script)}])
            for name, script in scripts.items()
        ),
    )

    # Then JSON is read as JSON and text as text, and an empty file is null
    outputs = {"json": {"a": [1, None]}, "text": "Grüße", "both": [1, 2], "empty": None}
    for name, output in outputs.items():
        ended = cluster.wait_task(namespace, name)
        assert ended["status"]["phase"] == "Succeeded", (name, ended["status"])
        assert ended["status"].get("output") == output

    # And the others fail, and say why
    for name, reason, word in (
        ("none", "Error", "/parley/output"),
        ("binary", "Error", "UTF-8"),
        ("huge", "ResultTooLarge", "16"),
        ("fails", "ExitCode", "exit code 3"),
    ):
        ended = cluster.wait_task(namespace, name)
        said = condition(ended, "Succeeded")
        assert (ended["status"]["phase"], said["reason"]) == ("Failed", reason), (name, ended["status"])
        assert word in said["message"], name
        assert "step only" in said["message"]


def test_only_parley_s_own_container_holds_the_token(cluster: Cluster, namespace: str) -> None:
    # Given a step with both files, that looks for a token
    look = (
        "import glob, json, os\n"
        "found = [p for p in glob.glob('/var/run/**', recursive=True) + glob.glob('/parley/**', recursive=True) if 'token' in p]\n"
        "json.dump({'found': found, 'input': json.load(open('/parley/input.json'))}, open('/parley/output', 'w'))"
    )
    body = to_file(look) | {"inputFile": {"n": "{{ inputs.n }}", "list": [1, "{{ inputs.n + 1 }}"]}}
    cluster.apply(namespace, task("looks", inputs={"n": 1}, steps=[{"name": "only", "container": body}]))

    # Then it finds its input as it was meant, and no token
    ended = cluster.wait_task(namespace, "looks")
    assert ended["status"]["output"] == {"found": [], "input": {"n": 1, "list": [1, 2]}}, cluster.describe(
        namespace
    )

    # And of its pod's containers only Parley's own mount it
    [pod] = pods(cluster, namespace, "looks")
    assert pod["spec"]["automountServiceAccountToken"] is False
    containers = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    tokens = {v["name"] for v in pod["spec"]["volumes"] if "projected" in v}
    holders = {c["name"] for c in containers if tokens & {m["name"] for m in c.get("volumeMounts", [])}}
    assert pod["spec"]["containers"][0]["name"] not in holders
    assert holders
    assert holders <= {c["name"] for c in pod["spec"]["initContainers"]}
    assert any(c.get("restartPolicy") == "Always" for c in pod["spec"]["initContainers"])
