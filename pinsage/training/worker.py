"""One of the processes of a train stage: `python -m pinsage.training.worker REQUEST`.

The train stage starts it, or torchrun does: RANK, WORLD_SIZE and LOCAL_RANK are as torchrun sets
them. It ends with whoever started it and with the stage that waits, so that a stage that was
killed leaves nobody who would write into its checkpoints.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path

import torch
import torch.distributed as dist

from pinsage.errors import PinSageError, TrainingError
from pinsage.training.launch import EXPECTED, UNEXPECTED, Exchange, as_argument, end_with
from pinsage.training.stage import pick_device, train_part
from pinsage.training.team import LONGEST_WAIT, Team


def main(argument: str) -> int:
    """Train this process's part; returns an exit code, the error is left in the exchange."""
    rank = int(os.environ.get("RANK", "0"))
    exchange = as_argument(argument)
    try:
        _work(rank, exchange)
    except PinSageError as error:
        exchange.fail(rank, str(error))
        return EXPECTED
    except Exception:  # noqa: BLE001, whatever it is, the stage says it
        exchange.fail(rank, traceback.format_exc())
        return UNEXPECTED
    return 0


def _work(rank: int, exchange: Exchange) -> None:
    config, sources, work, owner = exchange.read()
    threading.Thread(target=end_with, args=(os.getppid(), *owner), daemon=True).start()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size != config.training.processes:
        raise TrainingError(
            f"{size} training processes were started, and training.processes is "
            f"{config.training.processes}; make them the same"
        )
    device = pick_device(config.training.device, int(os.environ.get("LOCAL_RANK", "0")))
    _join(rank, size, device, exchange.meeting)
    facts = train_part(config, sources, work, exchange.report, Team(rank, size), device)
    if rank == 0:
        exchange.finish(facts)
    dist.destroy_process_group()


def _join(rank: int, size: int, device: torch.device, meeting: Path) -> None:
    """Come together: at torchrun's address, or else through a file on this host."""
    backend = "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
        backend = "nccl"
    store = None
    if "MASTER_ADDR" not in os.environ:
        store = dist.FileStore(str(meeting), size)  # type: ignore[attr-defined] # public, says its page
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=LONGEST_WAIT)


if __name__ == "__main__":
    code = main(sys.argv[1])
    sys.stdout.flush()
    # Not sys.exit: after a failure the backend's threads may wait for peers that are gone.
    os._exit(code)
