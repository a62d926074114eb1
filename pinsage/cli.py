"""The command line: what is published, what is related and why, data sets, configuration.

The commands that run the pipeline come from `flows` through the entry-point group
`pinsage.commands`. Invariant: nothing heavy is imported before a command's own body runs, so that
`pinsage --help` starts in well under a second.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinsage import __version__
from pinsage.console import (
    EXIT_CODES,
    AsJson,
    Commands,
    ConfigFile,
    Name,
    Overrides,
    Root,
    add_commands,
    locate,
    locate_one,
    print_json,
    read_config,
)
from pinsage.embed_new import embed_new
from pinsage.export import export
from pinsage.promote_version import promote_command
from pinsage.recommend_user import recommend_user
from pinsage.roll_back import rollback_command
from pinsage.serving.command import serve

if TYPE_CHECKING:
    from pinsage.retrieval.published import Neighbour, Published

_DOWNLOADS = Path("var/data")


def main() -> None:
    """Entry point of the console script."""
    command_line()()


def command_line() -> typer.Typer:
    """The whole command line, with the commands that installed packages add."""
    app = typer.Typer(
        cls=Commands,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="PinSage: from raw interactions to published item embeddings.",
    )
    app.callback()(_options)
    for command in (recommend, explain, published):
        app.command(rich_help_panel="Results")(command)
    app.command("rollback", rich_help_panel="Results")(rollback_command())
    app.command("promote", rich_help_panel="Results")(promote_command())
    app.command("recommend-user", rich_help_panel="Results")(recommend_user)
    app.command("embed-new", rich_help_panel="Results")(embed_new)
    app.command(rich_help_panel="Results")(export)
    app.command(rich_help_panel="Results")(serve)
    add_commands(app)  # one of the same name takes the place of the library's
    app.command(rich_help_panel="Preparation")(config)
    datasets = typer.Typer(no_args_is_help=True, help="Get open data sets.")
    datasets.callback()(_no_options)  # a Typer app of one command would drop the command's name
    datasets.command()(fetch)
    app.add_typer(datasets, name="data", rich_help_panel="Preparation")
    return app


def recommend(
    item: Annotated[str, typer.Argument(metavar="TITLE_OR_ID", help="Title or id of an item.")],
    k: Annotated[int, typer.Option("--count", "-k", min=1, help="Related items to show.")] = 10,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show the items most related to one, from the published version."""
    folder, chosen = locate_one(read_config(config_file, overrides), root, name)
    from pinsage.retrieval.published import load_published

    version = load_published(folder, chosen)
    row = version.find(item)
    related = version.related(row, k)
    if as_json:
        print_json(_related_document(chosen, version, row, related))
    else:
        from pinsage.display import show_related

        show_related(chosen, version, row, related)


def explain(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="Title or id of an item.")],
    item: Annotated[
        str, typer.Argument(metavar="ITEM", help="Title or id of what is recommended for it.")
    ],
    k: Annotated[
        int, typer.Option("--count", "-k", min=1, help="Common neighbours and paths to show.")
    ] = 5,
    contexts: Annotated[
        int,
        typer.Option(
            min=0, metavar="N", help="Name the N newest users of both; their ids are personal data."
        ),
    ] = 0,
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """Show why ITEM is recommended for QUERY: ranks, graph, walks, content, and what each adds."""
    folder, chosen = locate_one(read_config(config_file, overrides), root, name)
    from pinsage.explain.evidence import load_evidence
    from pinsage.explain.explanation import explain as explain_rows
    from pinsage.retrieval.published import load_published

    version = load_published(folder, chosen)
    rows = version.find(query), version.find(item)
    found = explain_rows(load_evidence(folder, version), *rows, count=k, contexts=contexts)
    if as_json:
        print_json({"name": chosen, "version": version.version, **asdict(found)})
    else:
        from pinsage.display import show_explanation

        show_explanation(chosen, version.version, found)


def published(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    name: Name = None,
    root: Root = None,
    as_json: AsJson = False,
) -> None:
    """List the published versions and say which one is current."""
    folder, names = locate(read_config(config_file, overrides), root, name)
    from pinsage.retrieval.versions import list_versions

    versions = {each: list_versions(folder, each) for each in names}
    if as_json:
        listed = [
            {"name": each, "versions": [asdict(version) for version in found]}
            for each, found in versions.items()
        ]
        print_json({"root": str(folder), "published": listed})
    else:
        from pinsage.display import show_versions

        show_versions(versions)


def config(
    config_file: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Configuration files, later ones over earlier ones; else every key is explained.",
        ),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Check a configuration and show every value, or explain every key there is.

    With --json: the values, or the JSON Schema of the configuration.
    """
    from pinsage.config import Config
    from pinsage.config_text import reference, to_toml

    effective = read_config(config_file, overrides)
    if as_json:
        print_json(effective.model_dump(mode="json") if effective else Config.model_json_schema())
    else:
        typer.echo(to_toml(effective) if effective else reference(), nl=False)


def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A data set, e.g. movielens-25m.")],
    to: Annotated[Path, typer.Option(metavar="DIR", help="Folder to put it in.")] = _DOWNLOADS,
    mirror: Annotated[
        str | None, typer.Option(metavar="URL", help="Other address than the official one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download an official archive, check it and unpack it. An interrupted download is resumed."""
    from pinsage.data import fetch as downloads

    folder = downloads.fetch(name, to, base_url=mirror, progress=not as_json)
    if as_json:
        print_json({"name": name, "folder": str(folder)})
    else:
        typer.echo(f"{name}: in {folder}")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and stop."
        ),
    ] = False,
) -> None:
    """What can be asked before a command; `_show_version` has answered by now."""


def _no_options() -> None:
    """Nothing to set before a command of the group."""


def _related_document(
    name: str, version: Published, row: int, related: list[Neighbour]
) -> dict[str, Any]:
    item = version.items.iloc[row]
    return {
        "name": name,
        "version": version.version,
        "item": {"item_id": item["item_id"], "title": item["title"]},
        "related": [asdict(neighbour) for neighbour in related],
    }
