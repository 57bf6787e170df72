"""What the verification compared and proved, as a table: from what `lanewise verify --json` printed.

``lanewise verify --full --json > build/verification.json``, then ``python benchmarks/verification.py build/verification.json`` prints the
table; with ``--write docs/verification.md`` it goes between the page's markers. Several files, of parts of the verification, are added up.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lanewise.files import write_part


def table(tests: list[dict[str, Any]]) -> str:
    """One line a bench, and one for each kind of proof."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for test in tests:
        bench, _, rest = test["name"].partition("[")
        what = rest.rstrip("]").rpartition(".")[2]
        groups.setdefault(f"proofs, `{what}`" if bench == "proofs" else f"`{bench}`", []).append(test)
    groups["**all**"] = tests
    lines = [
        "| bench | designs | tests | failed | values compared | clocks compared | properties proved | seconds |"
    ]
    lines.append("|---|" + "---:|" * 7)
    for name, members in groups.items():
        designs = {_design(test["name"]) for test in members}
        sums = [
            sum(test[key] for test in members)
            for key in ("values_compared", "clocks_compared", "properties_proved", "seconds")
        ]
        failed = sum(not test["passed"] for test in members)
        cells = (
            name,
            str(len(designs)),
            str(len(members)),
            str(failed),
            *(f"{value:,.0f}" for value in sums),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _design(name: str) -> str:
    """The part of a test's name that says what was built: ``bench[case].test``, ``proofs[case.what]``."""
    return name.partition("].")[0] if "]." in name else name.rpartition(".")[0]


def main() -> None:
    """Print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="what lanewise verify --json printed"
    )
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a page with markers")
    arguments = parser.parse_args()
    tests: list[dict[str, Any]] = []
    for file in arguments.files:
        try:
            tests += json.loads(file.read_text(encoding="utf-8"))["tests"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"{file}: {error!r}; expected what lanewise verify --json printed", file=sys.stderr)
            sys.exit(2)
    text = table(tests)
    if arguments.write is None:
        print(text)
        return
    write_part(arguments.write, "runs", text, by="benchmarks/verification.py")


if __name__ == "__main__":
    main()
