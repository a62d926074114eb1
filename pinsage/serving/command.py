"""The command `serve`.

Invariant: as with the other commands, nothing heavy is imported before its body runs.
"""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from pinsage.console import (
    ConfigFile,
    Name,
    Overrides,
    Root,
    is_loopback,
    locate_one,
    read_config,
    warn,
)

_HERE = "127.0.0.1"


def serve(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; there is no password.")
    ] = _HERE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8400,
    version: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="Stay with this version; else follow the current."),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, max=256, help="Requests computed at a time; 0: one a CPU.")
    ] = 0,
    poll: Annotated[
        float,
        typer.Option(min=0.05, max=3600, help="Seconds between looks for a new version."),
    ] = 1.0,
    drain: Annotated[
        float,
        typer.Option(min=0, max=600, help="Seconds between saying 'not ready' and the end."),
    ] = 1.0,
    preload: Annotated[
        bool,
        typer.Option(
            "--preload",
            help="Read the model for new items at the start, not when it is first asked for.",
        ),
    ] = False,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
) -> None:
    """Answer over HTTP: related items, recommendations, metrics. Follows what is published.

    `contexts` of a configuration says how what a user took becomes vectors.
    """
    config = read_config(config_file, overrides)
    folder, chosen = locate_one(config, root, name)
    from pinsage.config import ContextsConfig
    from pinsage.serving.server import serve as run

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which build it tries
    if not is_loopback(host):
        warn(
            f"listening on {host}: whoever reaches this port may ask, without a password; put a "
            f"proxy in front that knows who may"
        )
    run(
        folder,
        chosen,
        version=version,
        contexts=config.contexts if config else ContextsConfig(),
        host=host,
        port=port,
        threads=threads,
        poll=poll,
        drain=drain,
        preload=preload,
    )
