"""Child processes that are ended, with all they started, whatever happens to us.

Only a SIGKILL of this process leaves them behind, which nothing can prevent.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from pinsage.errors import PinSageError

START_TIMEOUT = 180.0  # seconds until a server must answer
STOP_TIMEOUT = 15.0  # seconds until a child that was asked to end is killed


class ServerError(PinSageError):
    """A server of `pinsage ui` did not start, or ended by itself."""

    exit_code = 1


class Children:
    """Processes that are ended, with all they started, when the block is left."""

    def __init__(self, folder: Path, logs: Path, environment: Mapping[str, str]) -> None:
        self.logs = logs
        self._folder = folder
        self.environment = environment
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Ask all to end, and kill those that do not within STOP_TIMEOUT."""
        for process in self._processes.values():
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_TIMEOUT
        for process in self._processes.values():
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal(process, signal.SIGKILL)
                process.wait()

    def start(self, name: str, *command: str, environment: Mapping[str, str] | None = None) -> int:
        """Start a module of this Python; its output goes to `<name>.log`. Its process id.

        `environment` takes the place of the one for all.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(  # noqa: S603  # our own commands
                [sys.executable, "-m", *command],
                cwd=self._folder,
                env=self.environment if environment is None else environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches us alone; we end the children in order
            )
        return self._processes[name].pid

    def run(self, name: str, *command: str) -> None:
        """Run a module of this Python to its end. Raises ServerError where it fails."""
        self.start(name, *command)
        code = self.wait_for(name)
        if code != 0:
            raise ServerError(f"{name} failed with exit code {code}:\n{self._tail(name)}")

    def wait_for(self, name: str) -> int:
        """Wait until a child has ended, and forget it; its exit code."""
        return self._processes.pop(name).wait()

    def until_it_answers(self, name: str, url: str) -> None:
        """Wait until a server answers. Raises ServerError where it ends or takes too long."""
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(url):
            self._check(name)
            if time.monotonic() > deadline:
                raise ServerError(
                    f"{name} does not answer at {url} after {START_TIMEOUT:.0f} s; "
                    f"see {self.logs / name}.log"
                )
            time.sleep(0.3)

    def wait(self) -> None:
        """Wait until a child ends by itself, which is an error."""
        while True:
            for name in self._processes:
                self._check(name)
            time.sleep(1.0)

    def _check(self, name: str) -> None:
        code = self._processes[name].poll()
        if code is not None:
            raise ServerError(f"{name} ended with exit code {code}:\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        log = self.logs / f"{name}.log"
        lines = log.read_text(errors="replace").splitlines()[-15:]
        return "\n".join([*lines, f"(all of it: {log})"])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # our own address
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)  # its own session, so its children are in the group
        except ProcessLookupError:
            pass  # it ended in this moment
