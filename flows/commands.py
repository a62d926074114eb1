"""The commands that run the pipeline; they join `pinsage` through its entry-point group.

Invariant: importing this module costs nothing beyond typer; Prefect, MLflow and torch are imported
by the commands that use them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.gc import gc
from flows.rollback import companion
from flows.watch import automations
from pinsage.config import Config, load_config
from pinsage.console import AsJson, Overrides, print_json
from pinsage.errors import ConfigError
from pinsage.promote_version import promote_command
from pinsage.roll_back import rollback_command

DEFAULT_DATA = "movielens-100k"
STAGE_FLOWS = {
    "validate": "Land the sources and check them against their data contract.",
    "ingest": "Bring everything up to the ingested and split data.",
    "graph": "Bring everything up to the graphs and their neighbourhoods.",
    "train": "Bring everything up to a trained model.",
    "evaluate": "Bring everything up to the evaluation beside the baselines, and its report.",
    "embed": "Bring everything up to the embeddings of all items.",
    "index": "Bring everything up to the nearest-neighbour index.",
    "publish": "Bring everything up to a published and registered version.",
}
_MODULES = {"index": "embed"}  # flows that share a file with another
_PANEL = "Pipeline"

ConfigNeeded = Annotated[
    list[Path],
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file (TOML); may be repeated, later ones change earlier ones.",
    ),
]

app = typer.Typer()


@app.command(rich_help_panel=_PANEL)
def demo(
    data: Annotated[
        str | None,
        typer.Option(help="A file of configs/, without .toml.", show_default="movielens-100k"),
    ] = None,
    config_file: Annotated[
        list[Path] | None,
        typer.Option(
            "--config",
            "-c",
            metavar="FILE",
            help="Configuration file, instead of --data; may be repeated.",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Run the whole pipeline on real data, and show the results and some related items."""
    config = load_config(_demo_config(data, config_file), tuple(overrides or ()))
    result = _run_flow("nightly", config)
    from flows.showcase import show

    show(config, result)


@app.command(rich_help_panel=_PANEL)
def run(config_file: ConfigNeeded, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Run everything from the raw interactions to a published version."""
    config = load_config(config_file, tuple(overrides or ()))
    result = _run_flow("nightly", config)
    from dataclasses import asdict

    if as_json:
        print_json(asdict(result))
    else:
        followed = "readers follow it" if result.promoted else "readers stay where they are"
        typer.echo(f"{config.name}: published {result.version}; {result.verdict}, {followed}")
        if not result.promoted:
            typer.echo("\n".join(result.reasons))


@app.command(rich_help_panel=_PANEL)
def ablation(
    config_file: ConfigNeeded,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each row.")] = 3,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GROUP_OR_VARIANT",
            help="Rows to train beside PinSage, e.g. table-1, neighbourhoods, batches; may be "
            "repeated. Else all.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Train every row of the paper's tables with several seeds, and compare them."""
    config = load_config(config_file, tuple(overrides or ()))
    from pinsage.ablation.variants import Plan

    Plan.of(config, seeds=seeds, only=only or ())  # a wrong name is an error before servers start
    compared = _run_flow("ablation", config, seeds=seeds, only=only)
    if as_json:
        print_json(_document(compared))
    else:
        typer.echo(compared.file("table.md").read_text(encoding="utf-8"))
        typer.echo(f"ablation: {compared.path}")


@app.command(rich_help_panel=_PANEL)
def tune(
    config_file: ConfigNeeded,
    trials: Annotated[
        int, typer.Option(min=1, help="Settings to try, of PinSage and of each baseline.")
    ] = 30,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="GROUP.KEY", help="Settings to choose; may be repeated. Else all."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Choose settings on validation, of PinSage and the baselines, with one budget."""
    config = load_config(config_file, tuple(overrides or ()))
    from pinsage.tuning.space import Space

    Space.of(config, only or ())  # a wrong name is an error before servers start
    concluded = _run_flow("tune", config, trials=trials, only=only)
    if as_json:
        print_json(_document(concluded))
    else:
        typer.echo(concluded.file("table.md").read_text(encoding="utf-8"))
        typer.echo(f"best settings: {config.root / 'tuning' / config.name}.toml")


@app.command(rich_help_panel=_PANEL)
def ui(
    profile: Annotated[
        str, typer.Option(help="local, or team: with login, on PostgreSQL.")
    ] = "local",
    root: Annotated[Path, typer.Option(help="Folder that holds everything written.")] = Path("var"),
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of Prefect.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of MLflow.")] = 5000,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond this machine with team alone.")
    ] = "127.0.0.1",
) -> None:
    """Start Prefect, a worker for each pool and MLflow on this machine, until Ctrl-C."""
    from flows.ui import serve

    serve(profile, root, prefect_port=prefect_port, mlflow_port=mlflow_port, host=host)


app.command(rich_help_panel="Servers")(gc)
app.command(rich_help_panel="Servers")(automations)


def _stage_command(stage: str) -> Callable[..., None]:
    def command(
        config_file: ConfigNeeded, overrides: Overrides = None, as_json: AsJson = False
    ) -> None:
        config = load_config(config_file, tuple(overrides or ()))
        result = _run_flow(stage, config)
        if as_json:
            print_json(_document(result))
        else:
            typer.echo(f"{stage}: {result.path}")

    return command


def _embed_command(
    config_file: ConfigNeeded,
    engine: Annotated[
        str | None,
        typer.Option(metavar="local|ray", help="Where to compute; else as embed.engine says."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|local",
            help="The Ray cluster; `local` starts one on this machine. Else as embed.address says.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    given = {"engine": engine, "address": address}
    chosen = [f"embed.{name}={value}" for name, value in given.items() if value is not None]
    _stage_command("embed")(config_file, [*(overrides or ()), *chosen], as_json)


app.command("rollback", rich_help_panel="Results")(rollback_command(companion))
app.command("promote", rich_help_panel="Results")(promote_command(companion))

for _stage, _help in STAGE_FLOWS.items():
    app.command(_stage, help=_help, rich_help_panel=_PANEL)(
        _embed_command if _stage == "embed" else _stage_command(_stage)
    )


def _run_flow(name: str, config: Config, **parameters: Any) -> Any:
    from importlib import import_module

    from rich.console import Console

    from flows.console import stage_lines
    from flows.embedded import start_embedded_api
    from flows.settings import check_server, environment

    console = Console(stderr=True)  # stdout is for the answer
    embedded = environment(config.root, terminal=True)
    ready = start_embedded_api(config.root) if embedded else check_server
    with console.status("starting Prefect and MLflow …"):
        flow = getattr(import_module(f"flows.{_MODULES.get(name, name)}"), name)
        ready()
    with stage_lines(console):
        return flow(config, **parameters)


def _demo_config(data: str | None, config_file: list[Path] | None) -> Path | list[Path]:
    if config_file:
        if data is not None:
            raise ConfigError(
                "--data names a file of configs/, --config any file: give one of them"
            )
        return config_file
    name = f"{data or DEFAULT_DATA}.toml"
    folders = (Path.cwd() / "configs", Path(__file__).resolve().parents[1] / "configs")
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    files = [file for folder in folders for file in folder.glob("*.toml")]
    there = sorted({file.stem for file in files if _names_data(file)})
    raise ConfigError(
        f"--data {data or DEFAULT_DATA}: no {name} in {' or '.join(map(str, folders))}; "
        + (f"there is {', '.join(there)}" if there else "name a file with --config")
    )


def _names_data(file: Path) -> bool:
    """False for a profile, which holds settings of learning alone."""
    return any(line.startswith("name") for line in file.read_text(encoding="utf-8").splitlines())


def _document(result: Any) -> dict[str, Any]:
    manifest = getattr(result, "manifest", None)
    facts = {"key": manifest.key, "facts": manifest.facts} if manifest else {"version": result.name}
    return {"path": str(result.path), "reused": result.reused, **facts}
