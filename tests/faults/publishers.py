"""Pieces of the processes that publish, and are killed, step by step: code to be run apart.

`EDITIONS` reads a configuration and editions, each what `publish` takes, from two arguments.
`step()` is to be called before each step; `publish_in_a_child(edition, at)` publishes in a process
of its own, killed before its step `at`, and returns how that ended.
"""

from __future__ import annotations

EDITIONS = """
import json, os, signal, sys
from pathlib import Path
from pinsage.config import parse_config
from pinsage.retrieval.publish import publish
from pinsage.store import open_artifact

config = parse_config(json.loads(sys.argv[1]))
editions = [
    {name: open_artifact(Path(path)) for name, path in edition.items()}
    for edition in json.loads(sys.argv[2])
]
"""

STEPS = """
wanted, count = 10**9, 0

def step():
    global count
    count += 1
    if count == wanted:
        os.kill(os.getpid(), signal.SIGKILL)

def publish_in_a_child(edition, at):
    global wanted, count
    child = os.fork()
    if child == 0:
        wanted, count = at, 0
        publish(config, **edition)
        os._exit(0)
    return os.waitpid(child, 0)[1]
"""
