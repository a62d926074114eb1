"""The command `gc`: remove what nobody needs, of the store, of MLflow and of Prefect.

Invariant: as with the other commands, nothing heavy is imported before its body runs. An MLflow or
a Prefect that does not answer is a warning: what lies on the disk is removed all the same.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pinsage.config import Config, RetentionConfig
from pinsage.console import (
    AsJson,
    ConfigFile,
    Overrides,
    Root,
    print_json,
    read_config,
    root_of,
    warn,
)
from pinsage.errors import ArtifactError, PinSageError

if TYPE_CHECKING:
    from pinsage.retention.plan import Plan

_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class Elsewhere:
    """What goes beside the files; None where the server gave no answer."""

    mlflow_runs: int | None
    flow_runs: int | None


def gc(
    config_file: ConfigFile = None,
    overrides: Overrides = None,
    root: Root = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go, and remove nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what no published version, recent run or unfinished work needs any more.

    The group `retention` of the configuration says what is recent. Downloads stay.
    """
    config = read_config(config_file, overrides)
    folder = root_of(config, root)
    policy = config.retention if config else RetentionConfig()
    if not folder.is_dir():
        raise ArtifactError(f"{folder}: no such folder; name the right one with --root or --config")
    prefect = _prefect(folder)
    from pinsage.retention.plan import collect, plan

    decided = plan(folder, policy) if dry_run else collect(folder, policy)
    if decided.in_use:
        warn(_in_use(decided, folder, dry_run=dry_run))
    elsewhere = Elsewhere(
        _old_mlflow_runs(folder, config, policy, dry_run=dry_run),
        _old_flow_runs(prefect, policy, dry_run=dry_run),
    )
    if as_json:
        print_json(_document(folder, decided, elsewhere, dry_run=dry_run))
    else:
        _show(folder, decided, elsewhere, dry_run=dry_run)


def _old_mlflow_runs(
    root: Path, config: Config | None, policy: RetentionConfig, *, dry_run: bool
) -> int | None:
    from flows import old_tracking
    from flows.settings import mlflow_database
    from flows.tracking import Link, tracking_uri_of
    from pinsage.retrieval.versions import names

    uri = tracking_uri_of(root, config.tracking.uri if config else "")
    experiments = [config.tracking.experiment or config.name] if config else names(root)
    if uri == mlflow_database(root) and not (root / "mlflow.db").exists():
        return 0
    link = Link(uri)

    def ask(client: Any) -> int:
        families = old_tracking.families_of(client, experiments)
        now_ms = round(time.time() * 1000)
        old = old_tracking.old_families(families, (), policy, now_ms)
        registered = old_tracking.registered_runs(client, old)
        going = old_tracking.old_families(families, registered, policy, now_ms)
        if not dry_run:
            old_tracking.remove(client, going)
            old_tracking.purge(client, uri, root, experiments)
        return sum(len(family.members) for family in going)

    return link.ask("find or remove old runs", ask)


def _prefect(root: Path) -> Callable[[], bool] | None:
    """Starts Prefect's API where it is embedded; what is returned waits for it.

    That says whether the runs of its database are all ours. None where there never was a run.
    """
    from flows.settings import check_server, environment, is_embedded, prefect_home

    if is_embedded() and not prefect_home(root).is_dir():
        return None
    if not environment(root, terminal=True):
        return _asks(check_server, is_ours=False)
    from flows.embedded import start_embedded_api

    return _asks(start_embedded_api(root), is_ours=True)


def _asks(ready: Callable[[], None], *, is_ours: bool) -> Callable[[], bool]:
    def wait() -> bool:
        ready()
        return is_ours

    return wait


def _old_flow_runs(
    prefect: Callable[[], bool] | None, policy: RetentionConfig, *, dry_run: bool
) -> int | None:
    if prefect is None:
        return 0
    import httpx

    try:
        is_ours = prefect()
        from flows.old_flow_runs import remove_flow_runs

        return remove_flow_runs(
            policy.prefect_days, datetime.now(UTC), only_tagged=not is_ours, dry_run=dry_run
        )
    except (PinSageError, httpx.HTTPError) as error:
        warn(f"Prefect's old flow runs stay: {error}")
        return None


def _in_use(decided: Plan, root: Path, *, dry_run: bool) -> str:
    known = ", ".join(map(str, decided.users)) or "of another host"
    would = "would now be removed" if dry_run else "is removed"
    return f"no file {would}: a process works in {root} (process {known}); run it again later"


def _document(root: Path, decided: Plan, elsewhere: Elsewhere, *, dry_run: bool) -> dict[str, Any]:
    return {
        "root": str(root),
        "dry_run": dry_run,
        "in_use": decided.in_use,
        "users": list(decided.users),
        "frees": decided.frees,
        "entries": [asdict(entry) for entry in decided.entries],
        **asdict(elsewhere),
    }


def _show(root: Path, decided: Plan, elsewhere: Elsewhere, *, dry_run: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for name, justify in (("", "left"), ("what", "left"), ("size", "right"), ("why", "left")):
        table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
    is_done = not dry_run and not decided.in_use
    for entry in decided.going:
        goes = "gone" if is_done else "goes"
        table.add_row(goes, Text(entry.path), size(entry.bytes), entry.why)
    for what, number, total, why in _staying(decided):
        table.add_row("stays", Text(f"{number} in {what}"), size(total), Text(why))
    console = Console()
    console.print(table)
    verb = "Freed" if is_done else "Would free"
    console.print(f"{verb} {size(decided.frees)} in {root}.", markup=False, highlight=False)
    for count, what in (
        (elsewhere.mlflow_runs, "MLflow runs"),
        (elsewhere.flow_runs, "Prefect flow runs"),
    ):
        if count:
            console.print(f"{'Would remove' if dry_run else 'Removed'} {count:,} {what}.")


def _staying(decided: Plan) -> list[tuple[str, int, int, str]]:
    """Folder, number of entries, bytes and reason, for each folder and kind of reason."""
    groups: Counter[tuple[str, str]] = Counter()
    totals: Counter[tuple[str, str]] = Counter()
    for entry in decided.entries:
        if not entry.goes:
            group = str(Path(entry.path).parent), entry.why
            groups[group] += 1
            totals[group] += entry.bytes
    return [(what, number, totals[what, why], why) for (what, why), number in groups.items()]


def size(count: float) -> str:
    """Bytes as people read them: 1.5 GB."""
    for unit in _UNITS:
        if count < 1000 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:,.0f} B" if unit == "B" else f"{count:,.1f} {unit}"
