"""`pinsage ui --profile team`: real servers on a real PostgreSQL, and nobody in without a login."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.embedded import free_port

ALL = "0.0.0.0"  # noqa: S104  # what is refused, or only named
CANARY = "canary-" + secrets.token_hex(12)
GOOD = {
    "PINSAGE_TEAM_PREFECT_DB": f"postgresql://team:{CANARY}@db/prefect",
    "PINSAGE_TEAM_MLFLOW_DB": f"postgresql://team:{CANARY}@db/mlflow",
    "PINSAGE_TEAM_PREFECT_AUTH": f"ops:{CANARY}-prefect",
    "PINSAGE_TEAM_MLFLOW_USER": "ops",
    "PINSAGE_TEAM_MLFLOW_PASSWORD": f"{CANARY}-mlflow",
    "PINSAGE_TEAM_SECRET_KEY": f"{CANARY}-key",
    "PINSAGE_TEAM_HOSTNAME": "pinsage.example",
}


@dataclass(frozen=True)
class Up:
    """Servers that are up; `said` is what they have printed, `environment` theirs."""

    process: subprocess.Popen[str]
    root: Path
    prefect: str
    mlflow: str
    environment: dict[str, str]
    said: str

    @property
    def prefect_login(self) -> tuple[str, str]:
        user, _, password = self.environment["PINSAGE_TEAM_PREFECT_AUTH"].partition(":")
        return user, password

    @property
    def mlflow_login(self) -> tuple[str, str]:
        of = self.environment
        return of["PINSAGE_TEAM_MLFLOW_USER"], of["PINSAGE_TEAM_MLFLOW_PASSWORD"]


def programs_of_postgres() -> Path | None:
    """Folder of a PostgreSQL with its contrib modules: Prefect needs pg_trgm, pgserver has none."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    named = shutil.which("initdb")
    return next(
        (
            folder
            for folder in [*reversed(installed), *([Path(named).resolve().parent] if named else [])]
            if (folder / "initdb").exists() and (folder / "pg_ctl").exists()
        ),
        None,
    )


@pytest.fixture(scope="module")
def databases() -> Iterator[dict[str, str]]:
    """Addresses on a real PostgreSQL that asks the user `team` for a password."""
    programs = programs_of_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL with contrib modules is installed on this machine")
    import psycopg

    folder, port = Path(tempfile.mkdtemp(prefix="postgres-")), free_port()
    (folder / "password").write_text(CANARY)
    as_user = []
    if os.geteuid() == 0:  # PostgreSQL does not run as root
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), "-D", str(folder / "data"), *arguments]
        log = subprocess.DEVNULL
        subprocess.run(command, cwd=folder, check=True, stdout=log, stderr=log, timeout=120)

    run("initdb", "-U", "team", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}")
    options = f"-c listen_addresses=127.0.0.1 -c fsync=off -p {port} -k {folder}"
    run("pg_ctl", "-w", "-o", options, "start")
    try:
        address = f"postgresql://team:{CANARY}@127.0.0.1:{port}/"
        with psycopg.connect(f"{address}postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE prefect")
            connection.execute("CREATE DATABASE mlflow")
        yield {name: f"{address}{name}" for name in ("prefect", "mlflow")}
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def up(databases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    pytest.importorskip("flask_wtf", reason="MLflow's login needs the extra `team`")
    repository, root = Path(__file__).parents[2], tmp_path_factory.mktemp("team") / "var"
    prefect, mlflow = free_port(), free_port()
    own = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_"))}
    environment = {
        **own,
        **GOOD,
        "PINSAGE_TEAM_PREFECT_DB": databases["prefect"],
        "PINSAGE_TEAM_MLFLOW_DB": databases["mlflow"],
        "PYTHONPATH": os.pathsep.join([str(repository), *own.get("PYTHONPATH", "").split(":")]),
    }
    ports = ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    process = subprocess.Popen(
        [
            sys.executable, "-c", "from pinsage.cli import main; main()",
            "ui", "--profile", "team", "--root", str(root), *ports,
        ],
        cwd=repository, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        assert "Ctrl-C" in said, said
        urls = f"http://127.0.0.1:{prefect}", f"http://127.0.0.1:{mlflow}"
        yield Up(process, root, *urls, environment, said)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert not (root / "team" / "login.ini").exists()


PREFECT_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/api/admin/version", None), ("GET", "/api/admin/settings", None),
    ("POST", "/api/flows/filter", {}), ("POST", "/api/flow_runs/filter", {}),
    ("POST", "/api/deployments/filter", {}), ("POST", "/api/work_pools/filter", {}),
    ("POST", "/api/events/filter", {}), ("POST", "/api/events", []),
    ("POST", "/api/logs/filter", {}), ("POST", "/api/block_documents/filter", {}),
    ("POST", "/api/automations/filter", {}), ("GET", "/api/csrf-token?client=x", None),
    ("POST", "/api/variables/", {"name": "a", "value": 1}),
]  # fmt: skip
MLFLOW_ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/", None), ("GET", "/api/2.0/mlflow/experiments/search?max_results=5", None),
    ("GET", "/ajax-api/2.0/mlflow/experiments/search?max_results=5", None),
    ("POST", "/api/2.0/mlflow/experiments/create", {"name": "a"}),
    ("POST", "/ajax-api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}),
    ("POST", "/graphql", {"query": "{__typename}"}),
    ("GET", "/api/2.0/mlflow-artifacts/artifacts", None),
    ("GET", "/ajax-api/2.0/mlflow-artifacts/artifacts", None),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/a.txt", {"a": 1}),
    ("GET", "/get-artifact?path=a&run_id=b", None),
    ("GET", "/api/2.0/mlflow/registered-models/search", None),
    ("GET", "/ajax-api/3.0/jobs/1", None), ("POST", "/ajax-api/3.0/jobs/", {}),
    ("POST", "/ajax-api/3.0/jobs/search", {}), ("GET", "/api/3.0/jobs/1", None),
    ("POST", "/v1/traces", {}), ("GET", "/api/2.0/mlflow/users/get?username=ops", None),
    ("GET", "/signup", None),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.distributed
class TestUp:
    @pytest.mark.parametrize(("method", "route", "body"), PREFECT_ROUTES)
    def test_prefect_lets_nobody_in_without_the_login(
        self, up: Up, method: str, route: str, body: Any
    ) -> None:
        token = csrf_token(up)  # which only a login gives; without one a change ends at 403 already
        for auth in (None, ("ops", "wrong"), ("", "")):
            got = httpx.request(
                method, up.prefect + route, json=body, auth=auth, headers=token, timeout=30
            )
            assert got.status_code == 401, (route, got.text[:200])

    @pytest.mark.parametrize(("method", "route", "body"), MLFLOW_ROUTES)
    def test_mlflow_lets_nobody_in_without_the_login(
        self, up: Up, method: str, route: str, body: Any
    ) -> None:
        for auth in (None, ("ops", "wrong"), ("admin", "password1234")):
            got = httpx.request(method, up.mlflow + route, json=body, auth=auth, timeout=30)
            assert got.status_code == 401, (route, got.status_code, got.text[:200])

    @pytest.mark.parametrize("route", ["/api/events/in", "/api/events/out", "/api/logs/out"])
    def test_prefects_sockets_ask_for_the_login_too(self, up: Up, route: str) -> None:
        address = up.prefect.replace("http", "ws") + route
        assert asyncio.run(answer_to(address, "wrong")) != "auth_success"
        assert asyncio.run(answer_to(address, ":".join(up.prefect_login))) == "auth_success"

    def test_a_change_needs_a_token_beside_the_login(self, up: Up) -> None:
        body = {"name": "a", "value": 1}
        got = httpx.post(f"{up.prefect}/api/variables/", json=body, auth=up.prefect_login)
        assert got.status_code == 403
        assert "CSRF" in got.text

    def test_pages_of_elsewhere_may_not_ask(self, up: Up) -> None:
        there = {"Origin": "https://evil.example"}
        got = httpx.get(f"{up.prefect}/api/health", headers=there)
        assert got.headers.get("access-control-allow-origin") not in ("*", there["Origin"])
        route = f"{up.mlflow}/api/2.0/mlflow/experiments/create"
        body = {"name": "planted"}
        got = httpx.post(route, json=body, headers=there, auth=up.mlflow_login)
        assert got.status_code == 403
        wrong_name = {"Host": "evil.example"}
        route = f"{up.mlflow}/api/2.0/mlflow/registered-models/search"
        assert httpx.get(route, auth=up.mlflow_login).status_code == 200
        got = httpx.get(route, headers=wrong_name, auth=up.mlflow_login)
        assert got.status_code == 403

    def test_everything_is_deployed_and_a_worker_runs_it_and_mlflow_has_the_run(
        self, up: Up, tmp_path: Path, make_tiny_config: Callable[..., Any]
    ) -> None:
        config = make_tiny_config(tmp_path)
        environment = {k: v for k, v in up.environment.items() if "PINSAGE_TEAM" not in k}
        environment |= {
            "PREFECT_API_URL": f"{up.prefect}/api",
            "PREFECT_API_AUTH_STRING": ":".join(up.prefect_login),
            "PREFECT_HOME": str(tmp_path / "home"),
        }
        parameters = json.dumps({"config": config.model_dump(mode="json")})
        done = subprocess.run(
            [sys.executable, "-c", RUN_VALIDATE, parameters],
            env=environment, capture_output=True, text=True, check=False, timeout=400,
        )  # fmt: skip
        assert "state COMPLETED" in done.stdout, done.stdout + done.stderr + logs_of(up)
        found = httpx.get(
            f"{up.mlflow}/api/2.0/mlflow/experiments/get-by-name",
            params={"experiment_name": "tiny"},
            auth=up.mlflow_login,
        ).json()["experiment"]
        assert found["artifact_location"].startswith("mlflow-artifacts:"), "through the server"
        runs = httpx.post(
            f"{up.mlflow}/api/2.0/mlflow/runs/search",
            json={"experiment_ids": [found["experiment_id"]]},
            auth=up.mlflow_login,
        ).json()["runs"]
        assert {run["info"]["run_name"].split()[0] for run in runs} == {"validate", "snapshot"}
        assert {run["info"]["status"] for run in runs} == {"FINISHED"}
        assert list((up.root / "mlartifacts").rglob("config.toml"))

    def test_no_secret_is_shown_anywhere(self, up: Up) -> None:
        deployments = asked_of_prefect(up, "/api/deployments/filter")
        pools = asked_of_prefect(up, "/api/work_pools/filter")
        assert len(deployments) > 5
        repository = Path(__file__).parents[2]
        shown = {
            "printed": up.said,
            "prefect.yaml": (repository / "prefect.yaml").read_text(),
            "deployments": json.dumps(deployments),
            "pools": json.dumps(pools),
            "logs": logs_of(up),
            "arguments": " ".join(arguments_of_all_processes()),
        }
        assert "mlflow server" in shown["arguments"].replace("\0", " ")
        assert [where for where, text in shown.items() if CANARY in text] == []
        for file in up.root.rglob("*"):
            if file.is_file() and file.name != "login.ini" and CANARY.encode() in file.read_bytes():
                pytest.fail(f"{file} holds a secret")


RUN_VALIDATE = """
import json, sys
from prefect.deployments import run_deployment
run = run_deployment("validate/validate", parameters=json.loads(sys.argv[1]), timeout=300)
print("state", run.state.type.value, run.state.message)
"""


async def answer_to(address: str, token: str) -> str:
    from websockets.asyncio.client import connect
    from websockets.exceptions import ConnectionClosed
    from websockets.typing import Subprotocol

    async with connect(address, subprotocols=[Subprotocol("prefect")]) as socket:
        try:
            await socket.send(json.dumps({"type": "auth", "token": token}))
            answer: str = json.loads(await asyncio.wait_for(socket.recv(), 20))["type"]
            return answer
        except ConnectionClosed as closed:
            return f"closed {closed.rcvd.code if closed.rcvd else ''}"


def csrf_token(up: Up) -> dict[str, str]:
    """Headers of a change that Prefect takes from who has logged in."""
    got = httpx.get(
        f"{up.prefect}/api/csrf-token", params={"client": "test"}, auth=up.prefect_login
    )
    return {"Prefect-Csrf-Token": got.json()["token"], "Prefect-Csrf-Client": "test"}


def asked_of_prefect(up: Up, route: str) -> Any:
    got = httpx.post(up.prefect + route, json={}, headers=csrf_token(up), auth=up.prefect_login)
    got.raise_for_status()
    return got.json()


def logs_of(up: Up) -> str:
    return "\n".join(file.read_text(errors="replace") for file in (up.root / "logs").glob("*.log"))


def arguments_of_all_processes() -> Iterator[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        yield text.replace("\0", " ")
