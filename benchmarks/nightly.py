"""The demo's nightly run, first and second time.

    python benchmarks/nightly.py [CONFIG]

Runs `pinsage run` twice in a fresh root, as a user would, and prints each stage's seconds and peak
memory from the artifacts' manifests. The second run should find every stage unchanged.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _timing import print_table


def main() -> None:
    """Run the nightly of a configuration, by default the demo's."""
    config = sys.argv[1] if len(sys.argv) > 1 else "configs/movielens-100k.toml"
    with tempfile.TemporaryDirectory() as root:
        first, second = _run(config, root), _run(config, root)
        rows = [_stage(path) for path in Path(root).glob("stages/*/*/manifest.json")]
    rows.sort(key=lambda row: row[3])
    print_table("Stages", ("stage", "seconds", "peak MiB"), [row[:3] for row in rows])
    print_table("Whole run", ("run", "seconds"), [("first", first), ("second", second)])


def _run(config: str, root: str) -> float:
    command = [sys.executable, "-m", "pinsage.cli", "run", "--config", config]
    start = time.perf_counter()
    subprocess.run([*command, "--set", f"root={root}"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def _stage(path: Path) -> tuple[str, float, float, str]:
    manifest = json.loads(path.read_text())
    return manifest["stage"], manifest["seconds"], manifest["peak_mib"], manifest["created"]


if __name__ == "__main__":
    main()
