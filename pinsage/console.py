"""What every command shares: how errors end, how JSON is written, where commands come from.

Invariant: an expected failure is one line on stderr that begins with `error: ` and exit code 2;
what goes to stdout is the answer alone, so that `--json` output is one JSON document.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import entry_points
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pinsage.config import Config, expand, load_config
from pinsage.errors import ArtifactError, ConfigError, MissingExtraError, PinSageError

COMMANDS = "pinsage.commands"  # the entry-point group through which other packages add commands

# Import name of an optional package -> the extra of pinsage-pipeline that installs it.
EXTRAS = {
    "PIL": "flows",
    "faiss": "index",
    "flask_wtf": "team",
    "fastapi": "serve",
    "gensim": "baselines",
    "great_expectations": "flows",
    "implicit": "baselines",
    "jinja2": "flows",
    "matplotlib": "flows",
    "mlflow": "flows",
    "optuna": "tune",
    "pooch": "fetch",
    "prefect": "flows",
    "prometheus_client": "serve",
    "psycopg": "team",
    "ray": "ray",
    "s3fs": "s3",
    "scipy": "baselines",
    "sqlalchemy": "sql",
    "tokenizers": "text",
    "usearch": "export",
    "uvicorn": "serve",
}

EXIT_CODES = (
    "Exit codes: 0 done; 1 an unexpected failure, with a traceback; 2 wrong usage, input or "
    "configuration, or nothing to work on, with one message; 130 interrupted."
)

ConfigFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Configuration file (TOML); may be repeated, later ones change earlier ones.",
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="GROUP.KEY=VALUE",
        help="Change one value of the configuration; may be repeated.",
    ),
]
Name = Annotated[
    str | None,
    typer.Option(help="Name of the data set; not needed where only one is published."),
]
Root = Annotated[
    Path | None,
    typer.Option(help="Folder that holds what was published.", show_default="var"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Version = Annotated[
    str | None, typer.Option(metavar="VERSION", help="A published version; else the current.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class Commands(TyperGroup):
    """A group of commands whose expected failures end as one message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; PinSageError and a missing optional package become an exit code."""
        try:
            return super().invoke(ctx)
        except PinSageError as error:
            raise fail(error) from None
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRAS:
                raise
            raise fail(missing_extra(package, str(ctx.invoked_subcommand))) from None


def fail(error: PinSageError) -> typer.Exit:
    """Print the message on stderr; the caller raises what this returns."""
    typer.echo(f"error: {error}", err=True)
    return typer.Exit(error.exit_code)


def missing_extra(package: str, command: str) -> MissingExtraError:
    """The error for a command that needs an optional package, with the way to install it."""
    return MissingExtraError(
        f"`pinsage {command}` needs the package {package}, which is not installed; "
        f"run: pip install 'pinsage-pipeline[{EXTRAS[package]}]'"
    )


def add_commands(app: typer.Typer) -> None:
    """Add the commands of the installed packages in the group `pinsage.commands`.

    A package whose commands cannot be imported is reported on stderr and left out, so that the
    others still work.
    """
    for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name):
        try:
            app.add_typer(entry.load())
        except ImportError as error:
            warn(f"the commands of {entry.value} are left out: {error}")


def warn(note: str) -> None:
    """Print a warning on stderr, beside the answer."""
    typer.echo(f"warning: {note}", err=True)


def print_json(document: Any) -> None:
    """Write one JSON document to stdout. NumPy scalars become numbers, other objects text."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=_plain))


def read_config(files: list[Path] | None, overrides: list[str] | None) -> Config | None:
    """The configuration named on the command line, if one was. Raises ConfigError."""
    if files:
        return load_config(files, tuple(overrides or ()))
    if overrides:
        raise ConfigError(
            f"--set {overrides[0]} changes a value of a configuration file: name the file too"
        )
    return None


def confirm(command: str, question: str) -> None:
    """Ask before something moves. Raises ConfigError where nobody can answer."""
    if not sys.stdin.isatty():
        raise ConfigError(f"{command} asks before it acts, and nobody can answer here: add --yes")
    typer.confirm(question, abort=True)


def root_of(config: Config | None, root: Path | None) -> Path:
    """The folder of everything: the one named, else the configuration's, else `var`."""
    return Path(expand(str(root or (config.root if config else "var")), field="root"))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def locate(config: Config | None, root: Path | None, name: str | None) -> tuple[Path, list[str]]:
    """The root, and the data sets chosen there: `name`, the configuration's, or all there are.

    Raises ArtifactError where nothing of that name, or nothing at all, is published.
    """
    from pinsage.retrieval.shelf import names, only_name

    folder = root_of(config, root)
    there = names(folder) or [only_name(folder)]  # which raises, where there is nothing
    wanted = name or (config.name if config else None)
    if wanted is None:
        return folder, there
    if wanted not in there:
        raise ArtifactError(
            f"{folder / 'published'}: {wanted} is not published there, but {', '.join(there)}; "
            f"run `pinsage run --config FILE` first, or name another with --name or --root"
        )
    return folder, [wanted]


def locate_one(config: Config | None, root: Path | None, name: str | None) -> tuple[Path, str]:
    """The root and the one data set chosen there. Raises ArtifactError where there are several."""
    from pinsage.retrieval.shelf import only_name

    folder, there = locate(config, root, name)
    return folder, there[0] if len(there) == 1 else only_name(folder)


def _plain(value: Any) -> Any:
    scalar = getattr(value, "item", None)  # NumPy scalars have it; importing NumPy is not needed
    return scalar() if callable(scalar) else str(value)
