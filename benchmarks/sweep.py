"""What a sweep takes: cold, with cached traces, and on one further machine; each into a folder of its own, caches included.

Usage: python benchmarks/sweep.py [--networks N | --all] [--seed S] [--workers N] [--vary KEY=VALUE] [MODEL...]

Without MODEL, N networks of the zoo drawn by the seed (60). Prints for each sweep the wall clock, the networks that are done, CPU seconds a
network (median, mean, largest), those of tracing, and the largest worker. `cold` has no traces, no costs and no results; `cached traces` has
the traces alone; `another machine` the traces, and costs of the machine before, which are of no use to it.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from lanewise.files import cache_folder
from lanewise.sweep.results import read_rows
from lanewise.sweep.selection import known_networks


def sweep(out: Path, cache: Path, models: Path, options: list[str]) -> None:
    """Run one and print its line."""
    command = [
        sys.executable,
        "-m",
        "lanewise.cli",
        "sweep",
        "--models",
        str(models),
        "--out",
        str(out),
        "--json",
        *options,
    ]
    done = subprocess.run(
        command, env=os.environ | {"LANEWISE_CACHE": str(cache)}, check=True, stdout=subprocess.PIPE
    )
    values = json.loads(done.stdout)
    rows = [row for row in read_rows(out) if row.seconds is not None and row.trace_seconds is not None]
    seconds = [row.seconds for row in rows]
    tracing = [row.trace_seconds for row in rows]
    largest = max(row.peak_bytes for row in read_rows(out)) / 2**20
    print(
        f"{out.name:18} {values['seconds']:7.1f} s  {values['done']} of {values['rows']} done  "
        f"CPU s a network: median {statistics.median(seconds):.3f}, mean {statistics.mean(seconds):.3f}, largest {max(seconds):.1f}; "
        f"tracing mean {statistics.mean(tracing):.2f}; largest worker {largest:.0f} MiB",
        flush=True,
    )


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("models", metavar="MODEL", nargs="*")
parser.add_argument("--networks", type=int, default=60)
parser.add_argument("--all", action="store_true")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--workers", type=int)
parser.add_argument("--vary", default="vector.lanes=16")
if __name__ == "__main__":
    arguments = parser.parse_args()
    names = arguments.models or [model.name for model in known_networks(cache_folder())]
    if not arguments.models and not arguments.all:
        names = random.Random(arguments.seed).sample(names, min(arguments.networks, len(names)))
    workers = [] if arguments.workers is None else ["--workers", str(arguments.workers)]
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder), Path(folder) / "cache"
        (root / "models.txt").write_text("\n".join(names))
        for name, options in (
            ("cold", []),
            ("cached traces", []),
            ("another machine", ["--vary", arguments.vary]),
        ):
            if name == "cached traces":
                shutil.rmtree(cache / "costs")
            sweep(root / name, cache, root / "models.txt", [*workers, *options])
