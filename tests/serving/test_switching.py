"""Versions change while clients ask: no request fails, and each answer is of one version."""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from pinsage.config import Config
from pinsage.retrieval.publish import Version
from pinsage.retrieval.published import Published, load_published
from pinsage.retrieval.versions import rollback
from tests.serving.conftest import PublishNumber, Server

Start = Callable[..., Server]
ITEMS = [f"i{number}" for number in range(40)]
CLIENTS = 6


class Load:
    """Threads that ask without a pause, and keep what they got by version."""

    def __init__(self, url: str) -> None:
        self.url, self.wrong = url, list[str]()
        self.answers: dict[str, dict[str, list[tuple[str, float]]]] = {}
        self.num_answered: Counter[int] = Counter()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _ask(self, number: int) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            turn = number
            while not self._stop.is_set():
                turn += 7
                try:
                    self._one(client, ITEMS[turn % 40], ITEMS[(turn * 3) % 40])
                except httpx.HTTPError as error:
                    self.wrong.append(repr(error))
                self.num_answered[number] += 1

    def _one(self, client: httpx.Client, first: str, second: str) -> None:
        if first == second:
            answer = client.get(f"/related/{first}", params={"k": 5})
        else:
            queries = [{"item_id": first}, {"item_id": second}]
            answer = client.post("/related", json={"queries": queries, "k": 5})
        if answer.status_code != 200:
            self.wrong.append(answer.text)
            return
        told = answer.json()
        for result in told["results"]:
            found = [(each["item_id"], each["score"]) for each in result["items"]]
            kept = self.answers.setdefault(told["version"], {}).setdefault(result["item_id"], found)
            if kept != found:
                self.wrong.append(f"{told['version']} gave {kept} and {found}")


def check_answers(load: Load, versions: dict[str, Published]) -> None:
    """Every answer is what the version that it names gives."""
    for name, by_item in load.answers.items():
        for item_id, found in by_item.items():
            expected = versions[name].related(versions[name].row_of(item_id), 5)
            assert [item for item, _ in found] == [each.item_id for each in expected], name
            scores = [each.score for each in expected]
            assert [score for _, score in found] == pytest.approx(scores, rel=1e-5)


def until(server: Server, version: str, seconds: float = 30) -> None:
    """Wait until the server answers from a version."""
    end = time.monotonic() + seconds
    while server.get("/ready").json()["version"] != version:
        assert time.monotonic() < end, f"{version} does not answer after {seconds} s\n{server.log}"
        time.sleep(0.02)


@pytest.mark.slow
def test_no_request_fails_while_versions_change(
    own_config: Config, publish_number: PublishNumber, start: Start
) -> None:
    config = own_config
    made = [publish_number(0)]
    server = start()
    with Load(server.url) as load:
        for number in range(1, 25):
            made.append(publish_number(number))
            until(server, made[-1].name)
        back = rollback(config.root, config.name)
        until(server, back)
        assert back == made[-2].name
    assert load.wrong == []
    assert min(load.num_answered.values()) > 50
    assert len(load.answers) >= 20, "the load saw the versions go by"
    versions = {each.name: load_published(config.root, config.name, each.name) for each in made}
    check_answers(load, versions)
    assert server.metric("pinsage_switches_total") == 25
    assert server.metric("pinsage_failed_loads_total") == 0
    assert server.end() == 0


def damage(version: Version, how: str) -> None:
    index = version.path / "index.faiss"
    if how == "flipped bit":
        content = bytearray(index.read_bytes())
        content[-1] ^= 1
        index.write_bytes(content)
    elif how == "no index":
        index.unlink()
    elif how == "no manifest":
        (version.path / "manifest.json").unlink()
    else:
        shutil.rmtree(version.path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["flipped bit", "no index", "no manifest", "no folder"])
def test_a_damaged_version_is_passed_over_and_the_next_one_answers(
    own_config: Config, publish_number: PublishNumber, start: Start, how: str
) -> None:
    good = publish_number(1)
    current = good.path.parent / "CURRENT"
    before = current.read_text()
    bad = publish_number(2)
    current.write_text(before)
    server = start()
    damage(bad, how)
    current.write_text(bad.name + "\n")
    end = time.monotonic() + 20
    while server.metric("pinsage_failed_loads_total") == 0:
        assert time.monotonic() < end, server.log
    time.sleep(0.3)
    assert server.metric("pinsage_failed_loads_total") == 1, "not tried at every look"
    assert server.get("/related/i3").json()["version"] == good.name
    assert f"version {bad.name} cannot be opened" in server.log
    if how == "no folder":
        bad.path.mkdir()  # publishing names versions after those that are there
    until(server, publish_number(3).name)
    assert server.end() == 0


def test_a_lost_pointer_changes_nothing(publish_number: PublishNumber, start: Start) -> None:
    good = publish_number(1)
    server = start()
    (good.path.parent / "CURRENT").unlink()
    time.sleep(0.3)
    assert server.get("/related/i3").json()["version"] == good.name
    assert server.log.count("CURRENT") == 1, "said once"
    until(server, publish_number(2).name)


def test_a_pinned_version_stays(publish_number: PublishNumber, start: Start) -> None:
    first, second = publish_number(1), publish_number(2)
    server = start("--version", first.name)
    publish_number(3)
    time.sleep(0.4)
    answer = server.get("/version").json()
    assert (answer["version"], answer["pinned"]) == (first.name, True)
    assert server.get("/related/i3").json()["version"] == first.name != second.name


@pytest.mark.slow
def test_the_model_is_there_for_new_items_after_a_switch(
    publish_number: PublishNumber, start: Start
) -> None:
    publish_number(1)
    server = start()
    body = {"queries": [{"features": {"year": 1987}}]}
    assert server.post("/related", body).status_code == 200
    second = publish_number(2)
    until(server, second.name)
    answer = server.post("/related", body)
    assert (answer.status_code, answer.json()["version"]) == (200, second.name)


class TestTheEnd:
    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_everything_that_was_accepted_is_answered(
        self, publish_number: PublishNumber, start: Start, number: int
    ) -> None:
        publish_number(1)
        server = start("--threads", "1", "--drain", "0")
        queries = [{"features": {"year": year, "title": "Tale " * 200}} for year in range(48)]
        server.post("/related", {"queries": queries, "k": 40})  # the model is in memory now
        answers: list[Any] = []

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                answers.append(client.post("/related", json={"queries": queries, "k": 40}))

        threads = [threading.Thread(target=ask) for _ in range(12)]
        for thread in threads:
            thread.start()
        while server.metric("pinsage_requests_in_flight") < 6:
            assert len(answers) < 6, "too quick to be caught in the middle"
        accepted = int(server.metric("pinsage_requests_in_flight")) - 1
        waiting = 12 - len(answers)
        assert server.end(number) == 0, server.log
        for thread in threads:
            thread.join(60)
        assert accepted >= 5
        assert len(answers) >= 12 - waiting + accepted
        assert {answer.status_code for answer in answers} == {200}
        assert "every request that was accepted is answered" in server.log

    @pytest.mark.slow
    def test_clients_see_no_failure_while_it_drains(
        self, publish_number: PublishNumber, start: Start
    ) -> None:
        publish_number(1)
        server = start("--drain", "1.5")
        seen: list[tuple[int, str]] = []

        def ask() -> None:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                while True:
                    answer = client.get("/ready")
                    seen.append((answer.status_code, answer.headers.get("connection", "")))
                    if answer.status_code == 503:
                        return  # as a load balancer does
                    seen.append((client.get("/related/i3").status_code, ""))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(seen) <= 40 and any(thread.is_alive() for thread in threads):
            time.sleep(0.01)  # however slow the machine is
        assert server.end() == 0
        for thread in threads:
            thread.join(30)
        told = Counter(seen)
        assert told.pop((503, "close")) == 4
        assert {status for status, _ in told} == {200}
        assert sum(told.values()) > 40


def test_a_taken_port_is_one_message(tiny_url: Server) -> None:
    port = tiny_url.url.rpartition(":")[2]
    with pytest.raises(AssertionError, match=r"error: --host 127.0.0.1 --port \d+: cannot be"):
        Server(tiny_url.root, "--port", port)


def test_another_host_is_warned_of(publish_number: PublishNumber, start: Start) -> None:
    publish_number(1)
    server = start("--host", "0.0.0.0")  # noqa: S104, the warning is what is tested
    assert "warning: listening on 0.0.0.0: whoever reaches this port may ask" in server.log
