"""A train stage on a Ray cluster: `python -m pinsage.training.ray_launch REQUEST`.

The train stage starts this driver, and hears of epochs through the exchange as it does from its
own processes; Ray Train places the workers, joins them in a process group, and starts all of them
anew where one is killed: they go on from our own checkpoints. It is a process of its own, so that
Ray's handlers of signals and its threads are not the stage's, and ends with it.

Every host shares `root`, and has this package installed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from typing import Any

from pinsage.cluster import LOCAL, connected
from pinsage.config import TrainingConfig
from pinsage.errors import PinSageError, TrainingError
from pinsage.training.launch import EXPECTED, Exchange, as_argument, end_with

_RESTARTS = 3
_TICK = 0.2  # seconds between two looks for an error that a worker has left
# Of all workers anew: where one was killed, and where they could not be placed, 60 s each time.
# More deaths than these have a cause that another start does not mend.
_LIMITS: dict[str, Any] = {"max_failures": _RESTARTS, "controller_failure_limit": _RESTARTS}
_SETTINGS = {
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # paths, a model of text's for one, are the driver's
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",  # how soon a death, or the end, is noticed
}


def main(argument: str) -> int:
    """Train on the cluster; returns an exit code, the error is left in the exchange."""
    exchange = as_argument(argument)
    config, _, _, owner = exchange.read()
    threading.Thread(target=end_with, args=(os.getppid(), *owner), daemon=True).start()
    training, said = config.training, ""
    os.environ.update(_SETTINGS)
    if training.address == LOCAL and sys.platform == "linux":
        # gloo would else listen on whatever address the host's name stands for.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    cpus = max(training.processes * training.threads, os.cpu_count() or 1)
    try:
        with connected(training.address, cpus=cpus) as ray:
            _fit(training, exchange, gpu=_takes_gpus(training, ray.cluster_resources()))
        said = exchange.error(None)
    except PinSageError as error:
        said = str(error)
    except Exception:  # noqa: BLE001, whatever it is, the stage says it
        said = f"training on Ray failed: {traceback.format_exc()}"
    if said:
        exchange.fail(0, said)
    return EXPECTED if said else 0


def _takes_gpus(training: TrainingConfig, resources: dict[str, float]) -> bool:
    """Whether each worker has a GPU. Raises TrainingError where the cluster is too small."""
    count, gpus = training.processes, int(resources.get("GPU", 0))
    if training.device == "cuda" and gpus < count:
        raise TrainingError(
            f"training.device is cuda, and the Ray cluster at {training.address!r} has {gpus} "
            f"GPUs for {count} processes; add some, lower training.processes, or set the device "
            f"to auto or cpu"
        )
    needed, cpus = count * training.threads, int(resources.get("CPU", 0))
    if cpus < needed:
        raise TrainingError(
            f"{count} training.processes with {training.threads} training.threads each need "
            f"{needed} CPUs, and the Ray cluster at {training.address!r} has {cpus}; add some, or "
            f"lower one of the two"
        )
    return training.device != "cpu" and gpus >= count


def _fit(training: TrainingConfig, exchange: Exchange, *, gpu: bool) -> None:
    """Run the workers to their end. Raises TrainingError where too many were killed."""
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    from pinsage.training.team import LONGEST_WAIT

    threading.Thread(target=_end_at_error, args=(exchange,), daemon=True).start()
    trainer = TorchTrainer(
        _work,
        train_loop_config={"request": str(exchange.request)},
        torch_config=TorchConfig(
            backend="nccl" if gpu else "gloo", timeout_s=int(LONGEST_WAIT.total_seconds())
        ),
        scaling_config=ScalingConfig(
            num_workers=training.processes,
            use_gpu=gpu,
            resources_per_worker={"CPU": training.threads, **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name="ray",
            storage_path=str(exchange.folder),
            failure_config=FailureConfig(**_LIMITS),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise TrainingError(
            f"training on Ray failed, after {_RESTARTS} restarts where that could help; the "
            f"checkpoints are whole: run again to go on from the last one. It said: {error}"
        ) from error


def _end_at_error(exchange: Exchange) -> None:
    """End the driver, and with it its job, where a worker has left an error.

    To start the workers anew would bring the same one, and the others wait for who has failed.
    """
    while not exchange.error(None):
        time.sleep(_TICK)
    os._exit(EXPECTED)


def _work(loop: dict[str, Any]) -> None:
    """What each of Ray's workers runs, its process group being up."""
    import torch
    from ray.train import get_context
    from ray.train.torch import get_device

    from pinsage.training.stage import train_part
    from pinsage.training.team import Team

    context, device = get_context(), get_device()
    team = Team(context.get_world_rank(), context.get_world_size())
    exchange = as_argument(loop["request"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        config, sources, work, _ = exchange.read()
        if team.leads:
            exchange.begin()
        facts = train_part(config, sources, work, exchange.report, team, device)
        if team.leads:
            exchange.finish(facts)
    except PinSageError as error:
        exchange.fail(team.rank, str(error))


if __name__ == "__main__":
    # By its name: Ray would else send its workers a copy of what `__main__` holds.
    from pinsage.training.ray_launch import main as drive

    code = drive(sys.argv[1])
    sys.stdout.flush()
    os._exit(code)
