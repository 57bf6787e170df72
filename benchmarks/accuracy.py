"""What Flex-SFU's bits cost pretrained networks: scores and agreement with FP32, by segments and degree.

``python benchmarks/accuracy.py`` prints the tables and writes all numbers to build/accuracy.json; with ``--write docs/accuracy.md`` the
tables go between the page's markers. An interrupted run goes on where it stopped.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lanewise.errors import UserError
from lanewise.files import write_json, write_part
from lanewise.models.accuracy_networks import NetworkAccuracy, VariantScore, accuracy_networks, accuracy_rows
from lanewise.models.pretrained import NETWORKS, pretrained

PARTS = ("networks", "agreement", "summary", "scores", "calls", "versions")


def networks(studies: Sequence[NetworkAccuracy]) -> str:
    """What is scored, and by what."""
    lines = ["| network | numbers | licence | task | data | samples | decisions | score |"]
    lines.append("|---|---:|---|---|---|---:|---:|---|")
    for study in studies:
        sense = "more is better" if study.larger_is_better else "less is better"
        cells = (
            study.title, _millions(study.parameters), study.licence, study.task, study.data,
            f"{study.samples:,}", f"{study.rows:,}: {study.decision}", f"{study.score_name}; {sense}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    left = [
        pretrained(name).facts.title for name in NETWORKS if name not in {study.network for study in studies}
    ]
    return "\n".join([*lines, *(["", f"Not measured in these tables: {', '.join(left)}."] if left else [])])


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 1e5 else f"{count / 1e6:.3f} M"


def agreement(studies: Sequence[NetworkAccuracy]) -> str:
    """Share of decisions that are FP32's, all networks and variants in one table."""
    names = [score.variant for score in studies[0].scores[1:]]
    lines = [f"| decisions as FP32 | of | {' | '.join(map(_short, names))} |"]
    lines.append("|---|---:|" + "---:|" * len(names))
    least = dict.fromkeys(names, 1.0)
    for study in studies:
        shares = {score.variant: score.top1_agreement for score in study.scores}
        cells = [f"{shares[name]:.2%}" for name in names]
        lines.append(f"| {study.title} | {study.rows:,} | {' | '.join(cells)} |")
        least = {name: min(least[name], shares[name]) for name in names}
    lines.append(f"| **the least of all** | | {' | '.join(f'**{share:.2%}**' for share in least.values())} |")
    return "\n".join(lines)


def summary(studies: Sequence[NetworkAccuracy]) -> str:
    """Loss of each variant in one table, and the worst of each in a sentence."""
    names = [score.variant for score in studies[0].scores[1:]]
    lines = [f"| loss of score | {' | '.join(map(_short, names))} |"]
    lines.append("|---|" + "---:|" * len(names))
    by_variant: dict[str, list[VariantScore]] = {name: [] for name in names}
    for study in studies:
        of = {score.variant: score for score in study.scores}
        for name in names:
            by_variant[name].append(of[name])
        lines.append(f"| {study.title} | {' | '.join(f'{of[name].loss:+.2%}' for name in names)} |")
    lines.append("")
    for name in names:
        worst = max(range(len(studies)), key=lambda place: by_variant[name][place].loss)
        unlike = min(range(len(studies)), key=lambda place: by_variant[name][place].top1_agreement)
        lines.append(
            f"- {name}: loses at most {max(by_variant[name][worst].loss, 0):.2%} of a score "
            f"({studies[worst].title}) and decides at least {by_variant[name][unlike].top1_agreement:.2%} "
            f"as FP32 does ({studies[unlike].title})."
        )
    return "\n".join(lines)


def _short(variant: str) -> str:
    """For a column's head: ``32 linear``."""
    return variant.removeprefix("Flex-SFU, ").replace(" segments", "")


def scores(studies: Sequence[NetworkAccuracy]) -> str:
    """All scores and agreements, a table a network."""
    lines = []
    for study in studies:
        lines += [f"### {study.title}: {study.score_name}", ""]
        lines.append("| arithmetic | score | loss | decisions as FP32 | angle to FP32: mean | worst |")
        lines.append("|---|---:|---:|---:|---:|---:|")
        for score in study.scores:
            cells = (
                score.variant, f"{score.score:.4f}", f"{score.loss:+.2%}", f"{score.top1_agreement:.2%}",
                f"{score.cosine_distance:.1e}", f"{score.worst_cosine_distance:.1e}",
            )  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", f"Angle: 1 - cosine of the {study.feature}.", ""]
    return "\n".join(lines).rstrip()


def calls(studies: Sequence[NetworkAccuracy]) -> str:
    """What ran on the hardware's bits."""
    lines = ["| network | tensors computed by the hardware's bits, each Flex-SFU variant |", "|---|---|"]
    for study in studies:
        counts = {tuple(sorted(score.calls.items())) for score in study.scores if score.segments is not None}
        texts = [", ".join(f"{name} {count:,}" for name, count in each) or "none" for each in sorted(counts)]
        lines.append(f"| {study.title} | {' or '.join(texts)} |")
    return "\n".join(lines)


def versions(studies: Sequence[NetworkAccuracy]) -> str:
    """Of packages, and the seed."""
    every: dict[str, str] = {}
    for study in studies:
        every |= study.versions
    text = ", ".join(f"{name} {number}" for name, number in sorted(every.items()))
    return f"Seed {studies[0].seed}. {text}."


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "networks", nargs="*", default=list(NETWORKS), metavar="NETWORK", help=", ".join(NETWORKS)
    )
    parser.add_argument(
        "--count", type=int, help="samples of each network, at most (each network's own number)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path("build/accuracy.json"), metavar="FILE")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with markers")
    arguments = parser.parse_args()
    try:
        studies = accuracy_networks(
            arguments.networks,
            count=arguments.count,
            seed=arguments.seed,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )
        write_json(
            arguments.json,
            {"networks": [study.as_dict() for study in studies], "rows": accuracy_rows(studies)},
        )
    except UserError as error:
        sys.exit(f"error: {error}")
    texts = {part: globals()[part](studies) for part in PARTS}
    if arguments.write is None:
        print("\n\n".join(texts.values()))
        return
    for part, text in texts.items():
        write_part(arguments.write, part, text, by="benchmarks/accuracy.py")


if __name__ == "__main__":
    main()
