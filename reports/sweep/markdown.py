"""A sweep's figures as Markdown, for docs/sweep.md."""

from lanewise.reports.sweep.page import Analysis, cell
from lanewise.reports.sweep.tables import Table


def results_part(analysis: Analysis) -> str:
    """The results part of the page: a few sentences and the tables that are short enough."""
    summary, tables = analysis.summary, analysis.tables
    if not summary["done"]:
        return f"No network is done; {summary['failed_rows']:,} of {summary['rows']:,} rows failed."
    lines = [
        f"{summary['done']:,} of {summary['networks']:,} networks done, {summary['failed']:,} failed, machine `{summary['config_hash']}`; "
        f"{summary['rows']:,} rows of {summary['machines']} machines in all.",
        *([f"**The rows come from {summary['sources']} versions of the code.**"] if summary["sources"] > 1 else []),
        *([f"**{summary['pending']:,} rows are not merged yet.**"] if summary["pending"] else []),
        "",
        "### Speedup by domain", "", markdown(tables["speedup"]), "",
        "### Beside the paper", "", markdown(tables["paper"]), "", markdown(tables["assumptions"]), "",
        "### By activation share", "", markdown(tables["shares"]), "", *_correlation(analysis), "",
        "### By dominant activation", "", markdown(tables["functions"]), "",
        "### By year", "", markdown(tables["years"]), "",
    ]  # fmt: skip
    if len(tables["machines"].rows) > 1:
        lines += ["### By machine", "", markdown(tables["machines"]), "", tables["machines"].note, ""]
    for table in analysis.options:
        lines += [f"### {table.title}", "", markdown(table), "", table.note, ""]
    lines += [
        f"Flex-SFU changes nothing for {summary['unchanged']:,} networks; {summary['without_activation']:,} have no function that it has a table for.",
    ]  # fmt: skip
    if summary["failed_rows"]:
        lines += ["", "### Failures", "", markdown(tables["failures"])]
    return "\n".join(lines)


def _correlation(analysis: Analysis) -> list[str]:
    found = analysis.correlation
    if found.pearson is None or found.spearman is None:
        return ["Too few networks differ for a correlation."]
    return [
        f"Correlation of speedup and share: Pearson {found.pearson:.3f}, Spearman {found.spearman:.3f}. "
        f"Of the cycles of tasks with activations, Flex-SFU removes {100 * (found.removed or 0):.1f} % in the median network that has any."
    ]


def markdown(table: Table) -> str:
    """A table in Markdown, numbers to the right."""
    heads = [heading.replace("<br>", " ") for heading, _ in table.columns.values()]
    rules = [":--" if kind in ("text", "wrapped") else "--:" for _, kind in table.columns.values()]
    lines = [f"| {' | '.join(heads)} |", f"|{'|'.join(rules)}|"]
    for row in table.rows:
        cells = (cell(row[key], kind).replace("|", "/") for key, (_, kind) in table.columns.items())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
