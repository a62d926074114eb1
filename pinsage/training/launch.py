"""A train stage in several processes: started here, watched, and heard out.

The stage writes what is to be trained into a folder, and starts a worker for each process; the
first of them appends its epochs to a file there, and leaves its facts. Nothing but JSON goes from
one to the other. A worker that fails, or is killed, ends all of them and the stage with an error;
the checkpoints stay, and the next run goes on from them.

Several hosts, or torchrun on one: the command in PINSAGE_LAUNCH starts the workers instead, as
`torchrun --nproc-per-node 4 …`; or Ray does (`ray_launch.py`). Hosts must share the folder `root`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pinsage.config import Config, parse_config
from pinsage.errors import TrainingError
from pinsage.files import is_alive
from pinsage.store import Facts, Workspace
from pinsage.training.loop import EpochReport

COMMAND = "PINSAGE_LAUNCH"
EXPECTED, UNEXPECTED = 2, 1  # exit codes of a worker that left its error in words
_WORKER = ("-m", "pinsage.training.worker")
_ON_RAY = ("-m", "pinsage.training.ray_launch")
_TICK = 0.1  # seconds between two looks at the workers
_PATIENCE = 0.5  # seconds between a worker's two looks at who started it
_ADDRESS = {"MASTER_ADDR", "MASTER_PORT"}  # another job's, that this one happens to be part of


@dataclass(frozen=True)
class Sources:
    """Folders of the artifacts that are trained on, and of the version to start from, if any."""

    parts: Path
    graph: Path
    table: Path
    champion: Path | None = None


@dataclass(frozen=True)
class Exchange:
    """The folder through which the stage and its workers speak.

    Attributes:
        folder: of this launch alone
    """

    folder: Path

    @property
    def request(self) -> Path:
        """What is to be trained."""
        return self.folder / "request.json"

    @property
    def meeting(self) -> Path:
        """Where workers on one host find each other."""
        return self.folder / "meeting"

    def ask(self, config: Config, sources: Sources, work: Workspace) -> None:
        """Write the request, with whole paths: a worker may be in another folder."""
        tree = {
            "config": {**config.model_dump(mode="json"), "root": config.root.absolute()},
            "sources": asdict(sources),
            "work": asdict(work),
            "owner": [socket.gethostname(), os.getpid()],
        }
        self.request.write_text(json.dumps(tree, default=_whole))

    def read(self) -> tuple[Config, Sources, Workspace, tuple[str, int]]:
        """The request: configuration, sources, workspace, and host and id of who waits for it."""
        tree = json.loads(self.request.read_text())
        work = tree["work"]
        work |= {"path": Path(work["path"]), "scratch": Path(work["scratch"])}
        sources = Sources(**{name: Path(path) for name, path in tree["sources"].items() if path})
        return parse_config(tree["config"]), sources, Workspace(**work), tuple(tree["owner"])

    def begin(self) -> None:
        """Forget what a leader that has died had told: the one in its place tells it all again."""
        self._epochs.unlink(missing_ok=True)

    def report(self, report: EpochReport) -> None:
        """Tell the stage of an epoch."""
        with self._epochs.open("a") as handle:
            handle.write(json.dumps(asdict(report)) + "\n")

    def reports(self, after: int) -> list[EpochReport]:
        """What was told of epochs after number `after`."""
        try:
            text = self._epochs.read_text()
        except FileNotFoundError:
            return []
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        told = [EpochReport(**json.loads(line)) for line in whole]
        return [report for report in told if report.epoch > after]

    @property
    def _epochs(self) -> Path:
        return self.folder / "epochs.jsonl"

    def fail(self, rank: int, message: str) -> None:
        """Leave a worker's error."""
        (self.folder / f"error-{rank}.txt").write_text(message)

    def error(self, rank: int | None) -> str:
        """The error of a worker, or with None the first that any has left; empty for none."""
        names = f"error-{'*' if rank is None else rank}.txt"
        found = sorted(self.folder.glob(names), key=lambda path: path.stat().st_mtime_ns)
        return found[0].read_text() if found else ""

    def finish(self, facts: Facts) -> None:
        """Leave the facts of a training that is done."""
        (self.folder / "facts.json").write_text(json.dumps(facts))

    def facts(self) -> Facts:
        """What was left by `finish`."""
        facts: Facts = json.loads((self.folder / "facts.json").read_text())
        return facts


def train_in_processes(
    config: Config,
    sources: Sources,
    work: Workspace,
    on_epoch: Callable[[EpochReport], None] | None,
) -> Facts:
    """Train in `training.processes` workers; the model is in `work.path` afterwards.

    Raises TrainingError where a worker fails or is killed: soon after, with its words. On Ray one
    that is killed is replaced, a few times.
    """
    work.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work.scratch, prefix="exchange-") as name:
        exchange, last = Exchange(Path(name).absolute()), -1
        exchange.ask(config, sources, work)
        with _started(config, exchange) as workers:
            running = True
            while running:
                running = _any_running(workers, exchange)
                for report in exchange.reports(last):
                    last = report.epoch
                    if on_epoch is not None:
                        on_epoch(report)
                time.sleep(_TICK if running else 0.0)
        return exchange.facts()


@contextmanager
def _started(
    config: Config, exchange: Exchange
) -> Iterator[dict[int | None, subprocess.Popen[bytes]]]:
    """The workers by rank, or one command that starts them all; they end with the block."""
    size, command = config.training.processes, _command(config)
    ranks: list[int | None] = [None] if command else [*range(size)]
    workers: dict[int | None, subprocess.Popen[bytes]] = {}
    try:
        for rank in ranks:
            workers[rank] = subprocess.Popen(  # noqa: S603, the operator's own command, or ours
                [*(command or [sys.executable, *_WORKER]), str(exchange.request)],
                env=None if rank is None else _environment(rank, size),
                start_new_session=True,  # Ctrl-C is the stage's, which then ends them
            )
        yield workers
    finally:
        for worker in workers.values():
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


def _command(config: Config) -> list[str]:
    """What starts all workers; empty where each is to be started by itself."""
    given = shlex.split(os.environ.get(COMMAND, ""))
    if config.training.launcher != "ray":
        return [*given, *_WORKER] if given else []
    if given:
        raise TrainingError(
            f"training.launcher is ray, and {COMMAND} says that something else starts the "
            f"workers (got {os.environ[COMMAND]!r}): unset it, or set the launcher to processes"
        )
    return [sys.executable, *_ON_RAY]


def _environment(rank: int, size: int) -> Mapping[str, str]:
    """What torchrun tells its workers, but for an address: on one host a file is enough."""
    inherited = {name: value for name, value in os.environ.items() if name not in _ADDRESS}
    told = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size}
    # gloo would else listen on whatever address the host's name stands for.
    near = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    return {**near, **inherited, **{name: str(value) for name, value in told.items()}}


def _any_running(workers: Mapping[int | None, subprocess.Popen[bytes]], exchange: Exchange) -> bool:
    """Whether there is one yet to end. Raises TrainingError where one has failed."""
    codes = {rank: worker.poll() for rank, worker in workers.items()}
    failed = {rank: code for rank, code in codes.items() if code}
    if failed:
        rank = min(failed, key=lambda each: _is_consequence(failed[each]))
        raise TrainingError(_explain(rank, failed[rank], len(workers), exchange))
    return any(code is None for code in codes.values())


def _is_consequence(code: int) -> int:
    """Order by which failure is the cause: when one goes, the others lose their connection."""
    if code == EXPECTED:
        return 0
    return 1 if code < 0 else 2


def _explain(rank: int | None, code: int, size: int, exchange: Exchange) -> str:
    said = exchange.error(rank)
    if said and code == EXPECTED:
        return said
    who = f"training process {rank} of {size}" if rank is not None else "what started the processes"
    how = f"was killed by {_signal(code)}" if code < 0 else f"ended with exit code {code}"
    return (
        f"{who} {how}, so the others were ended too; the checkpoints are whole: run again to go "
        f"on from the last one" + (f". It said: {said}" if said else "")
    )


def end_with(parent: int, host: str, stage: int) -> None:
    """End this process at once where its parent, or the stage on this host, is gone."""
    here = host == socket.gethostname()
    while os.getppid() == parent and (not here or is_alive(stage)):
        time.sleep(_PATIENCE)
    os._exit(UNEXPECTED)


def _whole(path: object) -> str:
    return str(Path(str(path)).absolute())


def _signal(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def as_argument(argument: str) -> Exchange:
    """The exchange that a worker, or who starts them, is pointed to.

    Raises TrainingError where there is none.
    """
    request = Path(argument)
    if not request.is_file():
        raise TrainingError(
            f"{request}: no such request; workers are started by the train stage (see "
            f"docs/architecture.md), and every host must share `root`"
        )
    return Exchange(request.parent)
