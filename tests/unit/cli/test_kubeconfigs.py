"""Kubeconfigs as people have them: tokens, login plugins, contexts, servers that are away."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from parley.cli.app import App
from parley.cli.failures import CliError
from parley.cli.live_kube import LiveKube
from parley.cli.main import run


def write(folder: Path, user: dict[str, Any]) -> Path:
    """A kubeconfig of two contexts, with a user who logs in so."""
    contexts = [
        {"name": "shop", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
        {"name": "bare", "context": {"cluster": "c", "user": "u"}},
    ]
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "shop",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
        "contexts": contexts,
    }
    file = folder / "config"
    file.write_text(yaml.safe_dump(config))
    return file


def plugin(folder: Path, script: str) -> dict[str, Any]:
    """A login plugin that is a shell script."""
    program = folder / "login"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(program),
            "interactiveMode": "Never",
        }
    }


def test_the_contexts_namespace_and_token_are_used(tmp_path: Path) -> None:
    file = str(write(tmp_path, {"token": "secret"}))

    kube = LiveKube.open(file, None)
    other = LiveKube.open(file, "bare")

    assert (kube.namespace, kube.server, kube.token()) == ("shop", "https://127.0.0.1:1", "secret")
    assert other.namespace == "default"
    assert kube.arguments() == {"--kubeconfig": file}
    assert other.arguments() == {"--kubeconfig": file, "--context": "bare"}


def test_a_login_plugin_gives_the_token(tmp_path: Path) -> None:
    status = {"token": "from-the-plugin"}
    credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    user = plugin(tmp_path, f"echo '{json.dumps(credential)}'")

    assert LiveKube.open(str(write(tmp_path, user)), None).token() == "from-the-plugin"


def test_a_login_that_fails_is_told_in_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    user = plugin(tmp_path, "echo 'session expired: run login' >&2; exit 1")

    code = run(["sessions", "--kubeconfig", str(write(tmp_path, user))], App())

    said = capsys.readouterr().err
    assert code == 1
    assert said.startswith(
        "error: the kubeconfig's login failed: exec: process returned 1. session expired: run login"
    )
    assert "next:  log in" in said


def test_a_password_is_no_token(tmp_path: Path) -> None:
    file = write(tmp_path, {"username": "eve", "password": "secret"})

    assert LiveKube.open(str(file), None).token() is None


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="nowhere") as raised:
        LiveKube.open(str(write(tmp_path, {"token": "t"})), "nowhere")
    assert "get-contexts" in str(raised.value.hint)


def test_a_server_that_is_away_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["tasks", "--kubeconfig", str(write(tmp_path, {"token": "secret"}))], App())

    said = capsys.readouterr().err
    assert code == 1
    assert "the API server https://127.0.0.1:1 does not answer GET /apis/parley.dev" in said
    assert "Connection refused" in said
    assert "secret" not in said


def test_a_name_that_would_be_another_path_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["tasks", "../../secrets", "--kubeconfig", str(write(tmp_path, {"token": "t"}))], App())

    assert code == 1
    assert "cannot be the name of a Task" in capsys.readouterr().err
