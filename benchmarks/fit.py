"""Fits of every function, their errors, and what they are measured against: tables, CSV, JSON and docs/fits.md.

Usage: python benchmarks/fit.py [--quick] [--out FOLDER] [--write docs/fits.md]

An interrupted run goes on where it stopped, as long as the models' code is the same. `--quick` leaves out the paper's optimiser, the
grid search and the formats but FP16. All: about five minutes on one core.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import lanewise.models
from lanewise.errors import UserError
from lanewise.formats import FORMATS
from lanewise.models.fit_table import PAPER_AAE2, PAPER_FUNCTIONS, PAPER_GAIN, fit_rows, geometric_mean
from lanewise.models.functions import FUNCTIONS
from lanewise.models.pwl_real import best_on_grid

Row = dict[str, Any]
TARGETS = (*PAPER_FUNCTIONS, "erf")
REDUCED = ("exp2", "reciprocal", "rsqrt", "log")
"""Functions of range reduction that every format is tried on, besides the targets."""
SEGMENTS = (8, 16, 32, 64)
GRID = 700
"""Places among which the global search puts knots."""

HEAD = """# Fits

`lanewise fit` makes Flex-SFU's tables. Everything on this page is printed by

```
python benchmarks/fit.py --write docs/fits.md
```

which also writes every row to `out/fits/fits.csv` and `fits.json`. One fit:

```
lanewise fit gelu --segments 32 --degree 1 --format fp16
```

`lanewise.models.fit_table.fit_rows` returns the rows to Python.

## How a table is fitted

The hardware does not ask neighbouring pieces to meet, so each is its segment's own least-squares polynomial, and the error
depends on the knots alone. Dynamic programming over a grid finds the best knots on it, Newton's method moves them off it, and
the search goes on in the number format, on the bits that the hardware returns.

The **limit** is the error of the best n free knots for many segments,
`(integral |f''|^(2/5))^5 / (720 n^4 (b-a))` for degree 1 and `(integral |f'''|^(2/7))^7 / (100800 n^6 (b-a))` for
degree 2; `lanewise.models.pwl_limit.limit_mse` derives both. **n counts all the segments of the hardware, tails included.**
A pinned tail lies on the function's asymptote, so that the result is right far outside the range; inside it serves
only where the function has reached the asymptote. Free tails serve the range alone. A formula for many segments is no bound for
few: a fit may lie a little below it.

Errors are means over the function's range. Those of formats are of the hardware's bits over every operand in the range
(of many for 32 bits), each weighing as much as the reals that round to it; `rounding` is the error of f itself
rounded to the format, which no table can beat.
"""


def by(rows: Iterable[Row], **wanted: Any) -> list[Row]:
    """The rows with these values."""
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def one(rows: Iterable[Row], **wanted: Any) -> Row:
    """The one row with these values."""
    (row,) = by(rows, **wanted)
    return row


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is text, the others are numbers."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines]) + "\n"


def short(value: float | None, form: str = ".2e") -> str:
    """A number, or a dash where there is none; what is 0 but for float64's rounding is 0."""
    if value is None:
        return "-"
    return "0" if form.endswith("e") and abs(value) < 1e-28 else format(value, form)


def limits(rows: list[Row], best: dict[tuple[str, int], float]) -> str:
    """Real linear fits of the targets over the limit, and the global search's."""
    lines = []
    for name in TARGETS:
        for count in (32, 64):
            free, pinned = (
                one(
                    rows,
                    function=name,
                    segments=count,
                    degree=1,
                    format="real",
                    method="optimal",
                    pin_tails=p,
                )
                for p in (False, True)
            )
            searched = best.get((name, count))
            lines.append([
                f"{name}, {count}", short(free["limit_mse"]), short(free["mse"]), short(free["limit_ratio"], ".3f"),
                short(pinned["mse"]), short(pinned["limit_ratio"], ".3f"),
                short(searched and searched / pinned["limit_mse"], ".3f"), short(pinned["seconds"], ".2f"),
            ])  # fmt: skip
    free = [one(rows, function=n, segments=c, degree=1, format="real", method="optimal", pin_tails=False)
            ["limit_ratio"] for n in TARGETS for c in (32, 64)]  # fmt: skip
    return f"""## Real numbers, degree 1, against the limit

Target: at most 1.10 x the limit with 32 segments and 1.05 x with 64. The worst with free tails is {max(free):.3f} x. Pinned
tails cannot reach it everywhere: two of the segments hold no free piece, and (32/30)^4 = {(32 / 30) ** 4:.2f}. That this is the
price and no fault of the search shows the column `grid`: the global optimum over knots on another grid of {GRID} places, by
dynamic programming alone, pinned tails as well. `tests/models/test_fit.py` holds the fits to it, and to L-BFGS from random knots that shares
no code with them.

""" + table(
        ["function, segments", "limit", "free MSE", "x limit", "pinned MSE", "x limit", "grid x limit", "s"],
        lines,
    )


def gains(rows: list[Row]) -> str:
    """MSE of uniform knots over that of free ones."""
    text = f"""## Against uniform segments

MSE of as many equal segments over that of the fit; degree 1, 32 segments, real numbers. `continuous`: the uniform rival is the
best continuous piecewise-linear function, as earlier units have it; `pieces`: the best lines that need not meet, which is
what ours may do. `limit`: uniform pieces over the limit formula, about the most that any choice of knots can gain. The paper's abstract has
{PAPER_GAIN} x as its mean over earlier units; which functions and rivals that averages is not public, so only the order compares.

"""
    lines, columns = [], []
    for name in TARGETS:
        free, pinned = (
            one(rows, function=name, segments=32, degree=1, format="real", method="optimal", pin_tails=p)
            for p in (False, True)
        )
        values = [
            free["gain"], free["gain_over_pieces"], pinned["gain"], pinned["gain_over_pieces"],
            free["uniform_pieces_mse"] / free["limit_mse"],
        ]  # fmt: skip
        lines.append([name, *(short(value, ".1f") for value in values)])
        if name in PAPER_FUNCTIONS:
            columns.append(values)
    means = [geometric_mean(column) for column in zip(*columns, strict=True)]
    lines.append([f"geometric mean of the {len(columns)} but erf", *(f"**{mean:.1f}**" for mean in means)])
    head = [
        "function",
        "free / continuous",
        "free / pieces",
        "pinned / continuous",
        "pinned / pieces",
        "bound",
    ]
    return text + table(head, lines)


def halves(rows: list[Row]) -> str:
    """FP16 over its rounding."""
    lines, within, beyond = [], [], []
    for name in TARGETS:
        free = one(
            rows, function=name, segments=32, degree=1, format="fp16", method="optimal", pin_tails=False
        )
        values = [short(free["mse"] / free["rounding_mse"], ".2f")]
        for degree in (1, 2):
            row = one(
                rows,
                function=name,
                segments=32,
                degree=degree,
                format="fp16",
                method="optimal",
                pin_tails=True,
            )
            best = row["rounding_mse"] + row["limit_mse"]
            values += [
                short(row["mse"]),
                short(row["mse"] / row["rounding_mse"], ".2f"),
                short(row["mse"] / best, ".2f"),
            ]
            if degree == 1 and min(row["mse"], free["mse"]) <= 1.5 * row["rounding_mse"]:
                within.append(name)
            elif degree == 1 and best > 1.5 * row["rounding_mse"]:
                beyond.append(name)
        lines.append([name, short(free["rounding_mse"]), *values])
    head = ["function", "rounding", "1, free: x rounding"]
    for degree in (1, 2):
        head += [f"{degree}, pinned: MSE", "x rounding", "x (rounding + limit)"]
    return f"""## FP16, 32 segments

Target: MSE within 1.5 x of the rounding's. Lines reach it for {", ".join(within) or "no function"}, pinned or free; for {", ".join(beyond)} the limit of
32 lines and the rounding together are already more. Against that sum, which is about what the best table in
real numbers with its result rounded once would leave, every line fit is near. Parabolas remove the limit; what remains above 1 is the rounding of
the inner multiply-add. Columns begin with the degree.

""" + table(head, lines)


def formats_table(rows: list[Row], degree: int) -> str:
    """MSE over the rounding's, by format."""
    lines = []
    for name in (*TARGETS, *REDUCED):
        line = [name]
        for form in FORMATS:
            found = by(
                rows, function=name, segments=32, degree=degree, format=form, method="optimal", pin_tails=True
            )
            line.append(
                f"{found[0]['mse']:.1e} ({found[0]['mse'] / found[0]['rounding_mse']:.3g})" if found else "-"
            )
        lines.append(line)
    return f"### Degree {degree}\n\n" + table(["function", *FORMATS], lines)


def sizes(rows: list[Row], degree: int, value: str, title: str) -> str:
    """One column for each number of segments."""
    lines = []
    for name in FUNCTIONS:
        found = [
            one(
                rows,
                function=name,
                segments=n,
                degree=degree,
                format="real",
                method="optimal",
                pin_tails=True,
            )
            for n in SEGMENTS
        ]
        cells = [
            f"{short(row[value])}"
            + (f" ({row['limit_ratio']:.2f})" if value == "mse" and row["limit_ratio"] else "")
            for row in found
        ]
        lines.append([name, *cells])
    return f"### {title}, degree {degree}\n\n" + table(["function", *map(str, SEGMENTS)], lines)


def papers_points(rows: list[Row]) -> str:
    """Squared average absolute error beside the paper's."""
    lines = []
    for (name, count, degree), theirs in PAPER_AAE2.items():
        ours = [
            one(
                rows,
                function=name,
                segments=count,
                degree=degree,
                format=form,
                method="optimal",
                pin_tails=pin,
            )["aae2"]
            for form, pin in (("real", False), ("real", True), ("fp16", True))
        ]
        lines.append([
            f"{name}, {count}, {degree}", short(theirs), *(short(value) for value in ours), f"{theirs / ours[1]:.2f}",
        ])  # fmt: skip
    return """## Beside the paper's points

Squared average absolute error on [-8, 8]. The paper's are those that a secondary source attributes to its extended version (TCAD
44(11), 2025), for so many breakpoints, which make one segment more, tails included; ours have so many *segments*. For lines that alone is a
factor of (9/8)^4 = 1.60 with 8 and (17/16)^4 = 1.27 with 16. Ours minimise the mean square, not this error.

""" + table(["function, number, degree", "paper", "free", "pinned", "pinned, FP16", "paper / pinned"], lines)


def methods(rows: list[Row]) -> str:
    """The paper's optimiser and ours."""
    lines = []
    for theirs in by(rows, method="paper"):
        ours = one(
            rows, function=theirs["function"], segments=theirs["segments"], degree=1, format="real",
            method="optimal", pin_tails=True,
        )  # fmt: skip
        lines.append([
            f"{theirs['function']}, {theirs['segments']}", short(theirs["mse"]), short(ours["mse"]),
            f"{theirs['mse'] / ours['mse']:.3f}", f"{theirs['seconds']:.1f}", f"{ours['seconds']:.2f}",
        ])  # fmt: skip
    return """## The paper's optimiser beside ours

Real numbers, degree 1, pinned tails. `lanewise.models.pwl_paper` rebuilds the paper's from its description: Adam on breakpoints and
values, the rate reduced on plateaus, rounds of removal and insertion. Its step counts and rates are ours.

""" + table(["function, segments", "paper's MSE", "ours", "paper's / ours", "paper's s", "ours s"], lines)


def seconds(rows: list[Row]) -> str:
    """How long fits take."""
    lines = []
    for form in ("real", *FORMATS):
        times = [row["seconds"] for row in by(rows, format=form, method="optimal")]
        if times:
            lines.append([form, str(len(times)), f"{statistics.median(times):.2f}", f"{max(times):.2f}"])
    return (
        "## Seconds a fit takes\n\nProcessor time; of a format with the real fit that it starts from.\n\n"
        + table(["format", "fits", "median", "most"], lines)
    )


def page(rows: list[Row], best: dict[tuple[str, int], float], quick: bool) -> str:
    """docs/fits.md."""
    every = "" if quick else "\n".join([
        "## Every format, 32 segments, pinned tails\n\nMSE, and in brackets how many times the rounding's. Integers have the scales "
        "with which range and values just fit; a dash: the range holds fewer than 8 numbers of the format.\n", formats_table(rows, 1), formats_table(rows, 2),
    ])  # fmt: skip
    parts: list[str | Callable[[], str]] = [
        HEAD, limits(rows, best), gains(rows), papers_points(rows), *([] if quick else [methods(rows)]), halves(rows), every,
        "## Every function, real numbers, pinned tails\n\nFor MSE, in brackets: x the limit.\n",
        *(sizes(rows, d, v, t) for d in (1, 2) for v, t in (("mse", "MSE"), ("aae2", "AAE^2"), ("max_error", "Largest error"))),
        seconds(rows),
    ]  # fmt: skip
    return "\n".join(str(part) for part in parts if part)


class Kept:
    """Rows by what was asked for, kept in a file from run to run, a line each."""

    def __init__(self, file: Path) -> None:
        code = b"".join(path.read_bytes() for path in sorted(Path(lanewise.models.__path__[0]).glob("*.py")))
        self.file, self.code, self.found = file, hashlib.sha256(code).hexdigest()[:16], {}
        file.parent.mkdir(parents=True, exist_ok=True)
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
            with contextlib.suppress(ValueError, KeyError):  # the end of a run that was killed
                entry = json.loads(line)
                self.found[entry["asked"]] = entry["rows"]

    def __call__(
        self, functions: Iterable[str], segments: Sequence[int], degrees: Sequence[int], formats: Sequence[str], **options: Any
    ) -> list[Row]:  # fmt: skip
        """As :func:`fit_rows`, a function at a time."""
        rows: list[Row] = []
        for name in functions:
            asked = json.dumps([self.code, name, segments, degrees, formats, options])
            if asked not in self.found:
                print(f"{name}: {', '.join(formats)} {options or ''}", file=sys.stderr, flush=True)
                self.found[asked] = fit_rows([name], segments, degrees, formats, **options)
                with self.file.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps({"asked": asked, "rows": self.found[asked]}) + "\n")
            rows += self.found[asked]
        return rows


def collect(quick: bool, kept: Kept) -> tuple[list[Row], dict[tuple[str, int], float]]:
    """All rows, and the MSE of the global search."""
    both = (1, 2)
    rows = kept(FUNCTIONS, SEGMENTS, both, ("real",), pin_tails=(True, False))
    rows += kept(FUNCTIONS, SEGMENTS, both, ("fp16",))
    rows += kept(TARGETS, (32,), (1,), ("fp16",), pin_tails=(False,))
    if quick:
        return rows, {}
    for name in (*TARGETS, *REDUCED):
        for form in FORMATS:
            if form != "fp16":
                try:
                    rows += kept([name], SEGMENTS, both, (form,))
                except UserError as error:  # the range holds too few numbers of the format
                    print(f"{name}, {form}: {error}", file=sys.stderr)
    best = {
        (name, n): best_on_grid(FUNCTIONS[name], n, *FUNCTIONS[name].range, candidates=GRID)
        for name in TARGETS
        for n in (32, 64)
    }
    rows += kept(TARGETS, (8, 16, 32), (1,), ("real",), method="paper")
    return rows, best


def main() -> None:
    """Collect, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="the main tables alone")
    parser.add_argument("--out", type=Path, default=Path("out/fits"), help="folder of fits.csv and fits.json")
    parser.add_argument("--write", type=Path, help="write the page there as well as to the terminal")
    arguments = parser.parse_args()
    rows, best = collect(arguments.quick, Kept(arguments.out / "kept.jsonl"))
    (arguments.out / "fits.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    with (arguments.out / "fits.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    text = page(rows, best, arguments.quick)
    print(text)
    if arguments.write:
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
