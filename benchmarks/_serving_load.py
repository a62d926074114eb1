"""A client of benchmarks/serving.py, in a process of its own: it asks, and prints what it saw.

    python _serving_load.py PORT CONNECTIONS SECONDS K ITEM_ID…

Requests are written before the clock starts and answers are read without a library, so that the
client takes little of the machine that it shares with the server.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time


def main(port: int, connections: int, seconds: float, k: int, item_ids: list[str]) -> None:
    """Ask for related items on several connections at once; one JSON document on stdout."""
    requests = [
        f"GET /related?item_id={item_id}&k={k} HTTP/1.1\r\nHost: l\r\n\r\n".encode()
        for item_id in item_ids
    ]
    times: list[list[float]] = [[] for _ in range(connections)]
    failed: list[str] = []
    versions: set[bytes] = set()
    stop = time.perf_counter() + seconds

    def ask(number: int) -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
                turn = number
                while time.perf_counter() < stop:
                    turn += connections
                    start = time.perf_counter()
                    line.sendall(requests[turn % len(requests)])
                    head, body = _read(line)
                    times[number].append(time.perf_counter() - start)
                    if b" 200 " not in head:
                        failed.append(repr(head + body))
                    versions.add(body.split(b'"version":"', 1)[1].split(b'"', 1)[0])
        except (OSError, ValueError, IndexError) as error:
            failed.append(repr(error))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = sorted(each for own in times for each in own)
    shares = {f"p{share}": together[int(len(together) * share / 100)] for share in (50, 99, 99.9)}
    print(json.dumps({
        "requests": len(together), "failed": len(failed), "first_failure": failed[:1],
        "versions": len(versions), **shares, "worst": together[-1],
    }))  # fmt: skip


def _read(line: socket.socket) -> tuple[bytes, bytes]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += _more(line)
    head, body = received.split(b"\r\n\r\n", 1)
    length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += _more(line)
    return head, body


def _more(line: socket.socket) -> bytes:
    part = line.recv(1 << 16)
    if not part:
        raise ConnectionError("closed in the middle of an answer")
    return part


if __name__ == "__main__":
    port, connections, seconds, k, *ids = sys.argv[1:]
    main(int(port), int(connections), float(seconds), int(k), ids)
