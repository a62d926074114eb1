"""A train stage in several processes: started here, watched, and heard out.

The stage writes what is to be trained into a folder, and starts a worker for each process; the
first of them appends its epochs to a file there, and leaves its facts. Nothing but JSON goes from
one to the other. A worker that fails, or is killed, ends all of them and the stage with an error;
the checkpoints stay, and the next run goes on from them.

Several hosts, or torchrun on one: the command in PINSAGE_LAUNCH starts the workers instead, as
`torchrun --nproc-per-node 4 …`; hosts must share the folder `root`.
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
from pinsage.store import Facts, Workspace
from pinsage.training.loop import EpochReport

COMMAND = "PINSAGE_LAUNCH"
EXPECTED, UNEXPECTED = 2, 1  # exit codes of a worker that left its error in words
_WORKER = ("-m", "pinsage.training.worker")
_TICK = 0.1  # seconds between two looks at the workers
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
        """Write the request."""
        tree = {
            "config": config.model_dump(mode="json"),
            "sources": asdict(sources),
            "work": asdict(work),
            "owner": [socket.gethostname(), os.getpid()],
        }
        self.request.write_text(json.dumps(tree, default=str))

    def read(self) -> tuple[Config, Sources, Workspace, tuple[str, int]]:
        """The request: configuration, sources, workspace, and host and id of who waits for it."""
        tree = json.loads(self.request.read_text())
        work = tree["work"]
        work |= {"path": Path(work["path"]), "scratch": Path(work["scratch"])}
        sources = Sources(**{name: Path(path) for name, path in tree["sources"].items() if path})
        return parse_config(tree["config"]), sources, Workspace(**work), tuple(tree["owner"])

    def report(self, report: EpochReport) -> None:
        """Tell the stage of an epoch."""
        with (self.folder / "epochs.jsonl").open("a") as handle:
            handle.write(json.dumps(asdict(report)) + "\n")

    def reports(self, done: int) -> list[EpochReport]:
        """What was told of epochs after the first `done`."""
        try:
            text = (self.folder / "epochs.jsonl").read_text()
        except FileNotFoundError:
            return []
        whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [EpochReport(**json.loads(line)) for line in whole[done:]]

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

    Raises TrainingError where a worker fails or is killed: soon after, with its words.
    """
    work.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=work.scratch, prefix="exchange-") as name:
        exchange, heard = Exchange(Path(name)), 0
        exchange.ask(config, sources, work)
        with _started(config.training.processes, exchange) as workers:
            running = True
            while running:
                running = _any_running(workers, exchange)
                for report in exchange.reports(heard):
                    heard += 1
                    if on_epoch is not None:
                        on_epoch(report)
                time.sleep(_TICK if running else 0.0)
        return exchange.facts()


@contextmanager
def _started(
    num_processes: int, exchange: Exchange
) -> Iterator[dict[int | None, subprocess.Popen[bytes]]]:
    """The workers by rank, or one command that starts them all; they end with the block."""
    command = shlex.split(os.environ.get(COMMAND, ""))
    ranks: list[int | None] = [None] if command else [*range(num_processes)]
    workers: dict[int | None, subprocess.Popen[bytes]] = {}
    try:
        for rank in ranks:
            workers[rank] = subprocess.Popen(  # noqa: S603, the operator's own command, or ours
                [*(command or [sys.executable]), *_WORKER, str(exchange.request)],
                env=None if rank is None else _environment(rank, num_processes),
                start_new_session=True,  # Ctrl-C is the stage's, which then ends them
            )
        yield workers
    finally:
        for worker in workers.values():
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()


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
    who = f"training process {rank} of {size}" if rank is not None else f"{COMMAND}'s command"
    how = f"was killed by {_signal(code)}" if code < 0 else f"ended with exit code {code}"
    return (
        f"{who} {how}, so the others were ended too; the checkpoints are whole: run again to go "
        f"on from the last one" + (f". It said: {said}" if said else "")
    )


def _signal(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def as_argument(argument: str) -> Exchange:
    """The exchange that a worker is pointed to. Raises TrainingError where there is none."""
    request = Path(argument)
    if not request.is_file():
        raise TrainingError(
            f"{request}: no such request; workers are started by the train stage (see "
            f"docs/architecture.md), and every host must share `root`"
        )
    return Exchange(request.parent)
