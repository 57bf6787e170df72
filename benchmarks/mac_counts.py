"""Multiply-accumulates of every network of the zoo by the traced graph and by PyTorch's FlopCounterMode.

``python benchmarks/mac_counts.py`` counts every network that `lanewise sweep` runs and prints what differs: about 20 CPU minutes, or 10
where a sweep has traced them. Every network is a line of build/mac_counts.jsonl as soon as it is counted, so an interrupted run goes on where
it stopped. With ``--write docs/validation.md`` the summary goes between the page's markers, and ``--csv FILE`` gets the table.
"""

import argparse
import csv
import io
import json
import os
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanewise.errors import UserError
from lanewise.files import write_part, write_text
from lanewise.mapping.mac_counts import MacCounts, mac_counts
from lanewise.mapping.networks import load
from lanewise.mapping.trace import trace_model
from lanewise.mapping.zoo import zoo

COLUMNS = ("model", "status", "graph", "folded", "counted", "difference", "alone", "reason")


def names() -> list[str]:
    """Every network of the zoo: all of timm, transformers' architectures and their published sizes."""
    return [model.name for model in zoo()]


def count(model: str) -> dict[str, Any]:
    """One network as a row of :data:`COLUMNS`: ``counted``, or ``failed`` with its reason."""
    try:
        graph = trace_model(model)
        module, inputs = load(model)
        counts = mac_counts(module, inputs, model=model, graph=graph)
    except Exception as error:  # noqa: BLE001  # whatever a network's own code raises is its row
        line = (str(error).strip().splitlines() or [""])[0]
        return {"model": model, "status": "failed", "reason": f"{type(error).__name__}: {line}"[:300]}
    return row(counts)


def row(counts: MacCounts) -> dict[str, Any]:
    """A network that was counted, as a row."""
    return {
        "model": counts.model, "status": "counted", "graph": counts.graph, "folded": counts.folded, "counted": counts.counted,
        "difference": counts.difference, "alone": counts.alone, "reason": counts.reason,
    }  # fmt: skip


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of an earlier run, by model; a last line that was not finished is not one."""
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines.pop():
        write_text(path, "".join(f"{line}\n" for line in lines))
    try:
        rows = [json.loads(line) for line in lines]
        return {each["model"]: each for each in rows}
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: is no list of counts ({error}); expected what this benchmark wrote") from None  # fmt: skip


def run(
    models: Sequence[str], path: Path, *, retry_failed: bool = False, so_far: bool = False
) -> list[dict[str, Any]]:
    """Count what ``path`` does not have yet, unless it is ``so_far`` that is asked for; the rows of ``models``, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = read(path)
    if so_far:
        return [rows[model] for model in models if model in rows]
    if retry_failed:
        rows = {name: each for name, each in rows.items() if each["status"] == "counted"}
    with path.open("a", encoding="utf-8") as log:
        for place, model in enumerate(models, 1):
            if model in rows:
                continue
            rows[model] = count(model)
            log.write(json.dumps(rows[model]) + "\n")
            log.flush()
            os.fsync(log.fileno())
            if rows[model].get("reason"):
                print(f"{place} of {len(models)}: {model}: {rows[model]['reason']}", file=sys.stderr)
    return [rows[model] for model in models]


def summary(rows: Sequence[dict[str, Any]], asked: int | None = None) -> str:
    """How many agree, and every one that does not; of an unfinished run also how many of those ``asked`` for it has."""
    begun = f"{len(rows):,} of {asked:,} networks so far.\n\n" if asked not in (None, len(rows)) else ""
    heads = ("library", "counted", "equal", "differ", "counter alone", "some folded", "not built or run")
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for library in ("timm", "hf"):
        own = [each for each in rows if each["model"].startswith(f"{library}:")]
        done = [each for each in own if each["status"] == "counted"]
        equal, folded = sum(not each["difference"] for each in done), sum(each["folded"] > 0 for each in done)
        alone = sum(each["alone"] for each in done)
        cells = (len(done), equal, len(done) - equal, alone, folded, len(own) - len(done))
        lines.append(f"| {library} | {' | '.join(f'{cell:,}' for cell in cells)} |")
    differ = [each for each in rows if each["status"] == "counted" and each["difference"]]
    lines += ["", f"{len(differ)} differ, by:" if differ else "No network differs."]
    if differ:
        lines += ["", "| network | graph | folded | PyTorch | difference | reason |"]
        lines.append("|---|---:|---:|---:|---:|---|")
        for each in differ:
            numbers = (f"{each[key]:,}" for key in ("graph", "folded", "counted", "difference"))
            lines.append(f"| {each['model']} | {' | '.join(numbers)} | {each['reason']} |")
    failed = Counter(each["reason"].partition(":")[0] for each in rows if each["status"] == "failed")
    if failed:
        kinds = ", ".join(f"{kind} {number}" for kind, number in failed.most_common())
        lines += ["", f"Not built or run, by exception: {kinds}."]
    return begun + "\n".join(lines)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """All rows as CSV."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def main() -> None:
    """Run, print, and write what is asked for; status 1 if a difference has no reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="timm:NAME, hf:NAME; default: all")
    parser.add_argument("--log", type=Path, default=Path("build/mac_counts.jsonl"))
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the summary into this page")
    parser.add_argument("--retry-failed", action="store_true")
    parser.add_argument("--so-far", action="store_true", help="count nothing more, of an unfinished run")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    try:
        models = arguments.models or names()
        rows = run(models, arguments.log, retry_failed=arguments.retry_failed, so_far=arguments.so_far)
        text = summary(rows, len(models))
        print(text)
        if arguments.csv:
            write_text(arguments.csv, table(rows))
        if arguments.write:
            write_part(arguments.write, "mac counts", text, by="benchmarks/mac_counts.py")
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    sys.exit(any("unexplained" in each.get("reason", "") for each in rows))


if __name__ == "__main__":
    main()
