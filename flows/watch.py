"""`pinsage automations`: what Prefect's server shall notice by itself, and whom it tells.

`pinsage ui` runs it against its own server; for a server of one's own it is run once by hand.
"""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pinsage.errors import ConfigError

NOTIFY = "PINSAGE_NOTIFY"
LEAST_SILENCE = 35  # seconds; hearts beat every 30


def automations(
    notify: Annotated[
        str | None,
        typer.Option(
            metavar="TYPE/NAME",
            envvar=NOTIFY,
            help="Prefect block to tell of failed runs, e.g. slack-webhook/ops, webhook/pager.",
        ),
    ] = None,
    silence: Annotated[
        int,
        typer.Option(
            min=LEAST_SILENCE, metavar="SECONDS", help="Without a sign of life a run is lost."
        ),
    ] = 90,
) -> None:
    """Let Prefect's server notice runs that were killed, and tell a block of failed ones."""
    if "PREFECT_API_URL" not in os.environ:
        raise ConfigError(
            "PREFECT_API_URL: not set; point it to your Prefect server, e.g. "
            "http://127.0.0.1:4200/api (`pinsage ui` makes the automations by itself)"
        )
    from flows.settings import QUIET, check_server

    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    check_server()
    from flows.automations import keep

    for name in keep(silence, notify):
        typer.echo(name)


if __name__ == "__main__":
    typer.run(automations)
