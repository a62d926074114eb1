"""What the commands show in a terminal: related items, versions, an explanation.

Invariant: what comes from the data is drawn as text, never as Rich's markup, and moves no cursor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pinsage.explain.summary import ordinal

if TYPE_CHECKING:
    from pinsage.explain.explanation import Explanation
    from pinsage.explain.parts import (
        BothWays,
        CommonNeighbours,
        FeaturePair,
        SharedContexts,
        Standing,
        Stripped,
        TwoStepPaths,
        Visits,
    )
    from pinsage.newcomers import Embedded
    from pinsage.retrieval.published import Neighbour, Published
    from pinsage.retrieval.versions import VersionInfo

_NOTHING = "–"
# Versions that readers never followed, by what was said of them.
_UNFOLLOWED = {
    "undecided": "not promoted: not judged",
    "promote": "not promoted yet",
    "ask": "waits for a person",
    "refuse": "refused",
}
Section: TypeAlias = tuple[Text, Table]  # a heading, and what stands below it


def show_related(name: str, version: Published, row: int, related: list[Neighbour]) -> None:
    """Print the items related to the one in a row."""
    title = f"Related to {version.items['title'].iloc[row]} ({name}, {version.version})"
    Console().print(_neighbours(title, related))


def show_for_user(name: str, version: str, user: str, items: list[Neighbour]) -> None:
    """Print the items recommended to a user."""
    Console().print(_neighbours(f"For user {user} ({name}, {version})", items))


def show_new_items(
    name: str, version: str, embedded: Embedded, related: list[list[Neighbour]]
) -> None:
    """Print the items related to each new one, and what its embedding rests on."""
    rows = zip(embedded.items["title"], embedded.num_users, related, strict=True)
    for title, users, neighbours in rows:
        basis = f"content and {users:,} user{'s' * (users != 1)}" if users else "content"
        heading = f"Related to {title}, by {basis} ({name}, {version})"
        Console().print(_neighbours(heading, neighbours))


def _neighbours(title: str, related: list[Neighbour]) -> Table:
    table = Table(title=plain(title), title_justify="left")
    table.add_column("", justify="right")
    table.add_column("item")
    table.add_column("title", overflow="fold")
    table.add_column("score", justify="right")
    for each in related:
        table.add_row(str(each.rank), plain(each.item_id), plain(each.title), f"{each.score:.3f}")
    return table


def show_versions(versions: dict[str, list[VersionInfo]]) -> None:
    """Print the versions of each data set."""
    table = Table()
    table.add_column("data set", overflow="fold")
    table.add_column("version", no_wrap=True)  # begins with the time it was made
    table.add_column("items", justify="right")
    table.add_column("state")
    table.add_column("token", justify="right")  # who began when: a late publisher is refused
    table.add_column("like the one before", overflow="fold")
    for name, found in versions.items():
        for each in found:
            row = (name, each.version, f"{each.num_items:,}", _state(each))
            token = "" if each.token is None else str(each.token)
            table.add_row(*row, token, _likeness(each.stability))
    console = Console()
    console.print(table)
    for place in dict.fromkeys(each.to for found in versions.values() for each in found if each.to):
        console.print(f"also at {place}", highlight=False, markup=False)


def _state(version: VersionInfo) -> str:
    if version.current or version.withdrawn:
        return "current" if version.current else "withdrawn"
    return _UNFOLLOWED.get(version.verdict, "")


def _likeness(stability: Mapping[str, Any]) -> str:
    """Overlap of neighbours and mean cosine once aligned, as far as they were measured."""
    labels = {"overlap_10": "overlap@10", "cosine_mean": "cosine"}
    return ", ".join(f"{labels[n]} {stability[n]:.3f}" for n in labels if n in stability)


def show_explanation(name: str, version: str, found: Explanation) -> None:
    """Print an explanation: the sentence, then the numbers behind it, both ways."""
    console = Console()
    query, item = plain(found.query.title), plain(found.item.title)
    console.print(Text.assemble((query.plain, "bold"), " → ", (item.plain, "bold")))
    console.print(Text(f"{name}, {version}", style="dim"))
    console.print(Text("\n"), plain(found.summary), sep="")
    for heading, table in (
        _places(found, query, item),
        _users(found.shared_contexts, query, item),
        _named_users(found.shared_contexts, query, item),
        _walks(found, query, item),
        _common(found.common_neighbours, query, item),
        *_paths(found, query, item),
        _content(found.content, query, item),
    ):
        if table.row_count:
            console.print(Text("\n"), heading, sep="", style="bold")
            console.print(table)


def plain(value: Any) -> Text:
    """Anybody's text, on one line, without what would steer the terminal."""
    return Text("".join(c if c.isprintable() else " " for c in str(value)), overflow="fold")


def _places(found: Explanation, query: Text, item: Text) -> Section:
    """Where the two stand for each other, by the model, by item-kNN, and with less to go on."""
    both_ways = Text.assemble(item, " for ", query), Text.assemble(query, " for ", item)
    table = _table([""], [found.score.metric, *both_ways])
    shared, ablation = found.shared_contexts, found.ablation
    rows: tuple[tuple[str, float, BothWays[Standing] | None], ...] = (
        ("PinSage", found.score.value, found.score.standing),
        ("  without neighbours", *_stripped(ablation.without_neighbours)),
        ("  by content alone", *_stripped(ablation.without_interactions)),
        ("item-kNN", shared.cosine, shared.standing),
    )
    for label, value, standing in rows:
        both = (standing.forward, standing.backward) if standing else (None, None)
        table.add_row(label, f"{value:.3f}", *map(_standing, both))
    return Text(f"Places among {found.score.num_ranked:,} items"), table


def _stripped(stripped: Stripped) -> tuple[float, BothWays[Standing] | None]:
    return stripped.score, stripped.standing


def _standing(standing: Standing | None) -> str:
    if standing is None:
        return _NOTHING
    return f"{standing.rank:,.1f}".removesuffix(".0") + f"  above {standing.beats:6.1%}"


def _users(shared: SharedContexts, query: Text, item: Text) -> Section:
    of_each = Text.assemble("of ", query), Text.assemble("of ", item)
    table = _table([], ["in all", *of_each, "of both", "by chance", "lift"])
    counts = shared.everyone, shared.query, shared.item, shared.shared
    lift = _NOTHING if shared.lift is None else f"{shared.lift:.1f}"
    table.add_row(*(f"{count:,}" for count in counts), f"{shared.expected:,.1f}", lift)
    return Text("Users"), table


def _named_users(shared: SharedContexts, query: Text, item: Text) -> Section:
    table = _table(["user", query, item])
    for each in shared.shown:
        times = (time[:19].replace("T", " ") for time in (each.query_time, each.item_time))
        table.add_row(plain(each.user_id), *times)
    return Text("Users of both, newest first (times in UTC)"), table


def _walks(found: Explanation, query: Text, item: Text) -> Section:
    table = _table([""], ["visits", "neighbour", "weight", "two-step paths", "their weight"])
    for start, end, seen, paths in _directions(found, query, item):
        table.add_row(
            Text.assemble(start, " → ", end),
            "by content" if seen.by_content else f"{seen.visits:,} of {seen.of:,}",
            _NOTHING if seen.place is None else ordinal(seen.place),
            _NOTHING if seen.place is None else f"{seen.weight:.3f}",
            f"{paths.number:,}",
            f"{paths.weight:.4f}",
        )
    by_content = found.walks.forward.by_content or found.walks.backward.by_content
    return Text("Random walks" + " and likeness by content" * by_content), table


def _common(common: CommonNeighbours, query: Text, item: Text) -> Section:
    table = _table([""], [query, item])
    for each in common.top:
        weights = f"{each.query_weight:.3f}", f"{each.item_weight:.3f}"
        table.add_row(plain(each.item.title), *weights)
    overlap = f"{common.overlap:.0%} of their weight"
    return Text(f"Neighbours in common, {common.number:,} with {overlap}"), table


def _paths(found: Explanation, query: Text, item: Text) -> Iterator[Section]:
    """The paths of a direction in which the other is no direct neighbour."""
    for start, end, seen, paths in _directions(found, query, item):
        table = _table(["by way of"], ["first", "second", "product"])
        for each in paths.top if seen.place is None else ():
            weights = f"{each.first:.3f}", f"{each.second:.3f}", f"{each.weight:.5f}"
            table.add_row(plain(each.via.title), *weights)
        yield Text.assemble("Two steps from ", start, " to ", end), table


def _directions(
    found: Explanation, query: Text, item: Text
) -> tuple[tuple[Text, Text, Visits, TwoStepPaths], ...]:
    return (
        (query, item, found.walks.forward, found.paths.forward),
        (item, query, found.walks.backward, found.paths.backward),
    )


def _content(content: tuple[FeaturePair, ...], query: Text, item: Text) -> Section:
    table = _table(["", query, item, "in common"])
    for each in content:
        in_common = Text(_NOTHING)
        if each.shared:
            in_common = plain(", ".join(each.shared))
        elif each.shared is None and each.alike is not None:
            in_common = Text(f"cosine {each.alike:.3f}")
        table.add_row(plain(each.column), _value(each.query), _value(each.item), in_common)
    return Text("Content"), table


def _value(value: Any) -> Text:
    if value is None:
        return Text(_NOTHING)
    if isinstance(value, list):
        return plain(", ".join(map(str, value)))
    return plain(f"{value:.12g}" if isinstance(value, float) else value)


def _table(left: Sequence[str | Text], right: Sequence[str | Text] = ()) -> Table:
    """A table without a frame, its first columns set to the left and the others to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    for name in right:
        table.add_column(name, justify="right", overflow="fold")
    return table
