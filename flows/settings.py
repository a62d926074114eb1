"""Environment of Prefect, MLflow and Great Expectations, set before the first of them is imported.

What the user has set stays as it is. Without any setting everything is embedded: Prefect's API
runs in a child process for as long as the command, MLflow writes to a SQLite file, and both keep
their data below the configuration's `root`.
"""

from __future__ import annotations

import logging
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from pinsage.errors import ConfigError

HOST = "127.0.0.1"
TAG = "pinsage"  # of every deployment in prefect.yaml

# MLflow's pages open in their view for language models, whatever the experiment, unless told so.
MLFLOW_VIEW = "?workflowType=machine_learning"

# Anonymous usage statistics of every tool are off.
QUIET = {
    "DO_NOT_TRACK": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
}

# An MLflow that does not answer is given up within seconds: tracking must not hold up a run.
IMPATIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}

# MLflow's own variable, which is off by default there and on here. It is read and never set: a
# caller's own runs of MLflow in the same process are none of our business.
SYSTEM_METRICS = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"

# Loggers whose lines are stored with the Prefect run.
LOGGERS = ("pinsage", "flows", "data_contracts")

LOGGING = {
    "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(LOGGERS),
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

# The embedded API starts in seconds, but a loaded machine may need far longer.
EMBEDDED = {
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "true",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
}

# Prefect's own lines stay out of a terminal: the commands draw theirs, and print errors once.
TERMINAL = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}


def environment(root: Path, *, terminal: bool = False) -> bool:
    """Set what the user left open; call it before prefect or mlflow is imported.

    `root` is the folder below which the embedded Prefect keeps its database. `terminal` keeps
    Prefect's log lines off the console; they are stored with the run all the same. Returns whether
    Prefect is embedded. Raises ConfigError where `root` cannot be written.
    """
    for settings in (QUIET, IMPATIENT, LOGGING, TERMINAL if terminal else {}):
        _default(settings)
    embedded = is_embedded()
    if embedded:
        home = prefect_home(root)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"root: cannot write to {home} ({error.strerror}); name another folder with "
                f"`root` in the configuration or --set root=FOLDER"
            ) from None
        _default({"PREFECT_HOME": str(home), **EMBEDDED})
    return embedded


def prepare_process() -> None:
    """What a flow needs in its process, also where a Prefect worker started that process."""
    for settings in (QUIET, IMPATIENT):
        _default(settings)
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:  # else INFO is dropped before Prefect's handler sees it
            logger.setLevel(logging.INFO)


def wants_system_metrics() -> bool:
    """Whether runs of MLflow are told what the machine does; MLflow's own variable says no."""
    return os.environ.get(SYSTEM_METRICS, "true").lower() not in ("false", "0")


def check_server() -> None:
    """Raise ConfigError where the user points to a Prefect server and none answers there."""
    url = os.environ.get("PREFECT_API_URL")
    if url is None:
        return
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10):  # noqa: S310  # the user's own
            return
    except urllib.error.HTTPError:
        return  # it answers; whether it lets us in is for Prefect to find out
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
    raise ConfigError(
        f"PREFECT_API_URL={url}: no Prefect server answers there ({reason}); start one with "
        f"`pinsage ui`, or unset the variable and run without a server"
    )


def is_embedded() -> bool:
    """True where the user points to no Prefect server and keeps no Prefect home of their own."""
    return "PREFECT_API_URL" not in os.environ and "PREFECT_HOME" not in os.environ


def prefect_home(root: Path) -> Path:
    """Folder of the embedded Prefect's database and settings."""
    return root.resolve() / "prefect"


def mlflow_database(root: Path) -> str:
    """Address of the SQLite file that MLflow writes where no server is named."""
    return f"sqlite:///{root.resolve() / 'mlflow.db'}"


def mlflow_artifacts(root: Path) -> Path:
    """Folder of MLflow's artifacts where no server is named."""
    return root.resolve() / "mlartifacts"


def mlflow_address() -> str:
    """Where `pinsage ui` serves the pages of the embedded MLflow database."""
    return os.environ.get("PINSAGE_MLFLOW_ADDRESS", f"http://{HOST}:5000")


def _default(settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        os.environ.setdefault(name, value)
