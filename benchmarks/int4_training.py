"""INT4 training of a small transformer against FP32, with ablations, what its sampling keeps, and INT4's error on MiniLM's outliers.

``python benchmarks/int4_training.py`` prints the tables and writes all numbers to build/int4_training.json; with ``--write
docs/int4_training.md`` the tables go between the page's markers. An interrupted run goes on where it stopped.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import sqrt
from pathlib import Path
from statistics import mean, stdev

from scipy.stats import t as student

from lanewise.errors import UserError
from lanewise.files import write_json, write_part
from lanewise.models.int4_outliers import LayerErrors, OutlierStudy, int4_outliers, task_outliers
from lanewise.models.int4_sampling import SamplingMeasurement, sampling_statistics
from lanewise.models.int4_tasks import HEADS, IMAGE_PACKAGE, LAYERS, TASKS, WIDTH
from lanewise.models.int4_training import REFERENCE, SEEDS, VARIANTS, Int4Study, int4_training

POINTS = 1.0
"""Target: INT4's mean accuracy is at most so many points below FP32's."""
TARGETS = ("INT4", "INT4, attention INT8")
"""What has to reach it."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """All that the page tells."""

    training: Int4Study
    outliers: OutlierStudy
    own: dict[str, tuple[LayerErrors, ...]]
    """Errors of the study's own networks, by task."""
    sampling: dict[str, SamplingMeasurement]
    """Of the variant INT4, by task."""


def tasks(results: Results) -> str:
    """What is trained on."""
    study = results.training
    lines = [
        "| data | file | licence | samples to train on | decisions to test | numbers of the network | steps x batch | score |"
    ]
    lines.append("|---|---|---|---:|---:|---:|---:|---|")
    for task in study.tasks.values():
        cells = (
            task["title"], task["data"], task["licence"], f"{task['train']:,}", f"{task['test']:,}",
            f"{task['parameters']:,}", f"{task['steps']} x {task['batch']}", task["score"],
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"The network: {LAYERS} pre-norm encoder layers, {WIDTH} wide, {HEADS} heads."]
    return "\n".join(lines)


def _accuracies(study: Int4Study, task: str, variant: str) -> list[float]:
    """In percent, by seed."""
    return [100 * run.accuracy for run in study.of(task, variant)]


def _names(study: Int4Study) -> list[str]:
    return [name for name in VARIANTS if any(run.variant == name for run in study.runs)]


def _spread(values: list[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def accuracy(results: Results) -> str:
    """Mean and spread over seeds."""
    study = results.training
    titles = [task["title"] for task in study.tasks.values()]
    lines = [f"| accuracy | {' | '.join(f'{title} | to FP32, points' for title in titles)} |"]
    lines.append("|---|" + "---:|---:|" * len(titles))
    for name in _names(study):
        cells = []
        for task in study.tasks:
            values, wanted = _accuracies(study, task, name), _accuracies(study, task, REFERENCE)
            each = [ours - theirs for ours, theirs in zip(values, wanted)]
            cells.append(f"{mean(values):.2f} % ± {_spread(values):.2f}")
            cells.append("" if name == REFERENCE else f"{mean(each):+.2f} ± {_spread(each):.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    count = len({run.seed for run in study.runs})
    lines += ["", f"Mean ± standard deviation over {count} seeds; the difference is taken seed by seed."]
    return "\n".join(lines)


def losses(results: Results) -> str:
    """Cross entropy, and time."""
    study = results.training
    titles = [task["title"] for task in study.tasks.values()]
    head = " | ".join(f"{title}: training | test | processor seconds" for title in titles)
    lines = [f"| cross entropy, nats | {head} |", "|---|" + "---:|---:|---:|" * len(titles)]
    for name in _names(study):
        cells = []
        for task in study.tasks:
            runs = study.of(task, name)
            losses = ([run.train_loss for run in runs], [run.loss for run in runs])
            cells += [f"{mean(values):.4f} ± {_spread(values):.4f}" for values in losses]
            cells.append(f"{mean(run.seconds for run in runs):.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def findings(results: Results) -> str:
    """Whether the target is met and the paper's order comes out, in sentences."""
    study = results.training
    lines = []
    names = _names(study)
    for task, about in study.tasks.items():
        wanted = _accuracies(study, task, REFERENCE)
        for name in (name for name in TARGETS if name in names):
            loss = mean(wanted) - mean(_accuracies(study, task, name))
            verdict = "met" if loss <= POINTS else "missed"
            side = "below" if loss >= 0 else "above"
            lines.append(
                f"- {about['title']}: {name} is {abs(loss):.2f} points {side} FP32; the target, {POINTS:.0f} point, is {verdict}."
            )
        for name in names:
            if name in (REFERENCE, "INT4") or "INT4" not in names:
                continue
            sentence = _compared(study, task, name)
            lines.append(f"- {about['title']}, {name}: {sentence}.")
    lines += ["", "Chance: the 95 % interval of Student's t, of the differences seed by seed."]
    return "\n".join(lines)


def _compared(study: Int4Study, task: str, name: str) -> str:
    """Training loss and accuracy of a variant beside INT4's, seed by seed, with what the spread allows to say."""
    ours, theirs = study.of(task, "INT4"), study.of(task, name)
    texts = []
    for title, unit, scale, values in (
        ("accuracy", " points", 100, [b.accuracy - a.accuracy for a, b in zip(ours, theirs)]),
        ("training loss", " nats", 1, [b.train_loss - a.train_loss for a, b in zip(ours, theirs)]),
    ):
        middle, error = scale * mean(values), scale * _spread(values) / sqrt(len(values))
        sure = "beyond" if abs(middle) > error * student.ppf(0.975, len(values) - 1) else "within"
        texts.append(f"{title} {middle:+.{2 if scale > 1 else 4}f}{unit} beside INT4's ({sure} chance)")
    return "; ".join(texts)


def sampling(results: Results) -> str:
    """Kept rows of each word."""
    measured = results.sampling
    titles = [results.training.tasks[name]["title"] for name in measured]
    lines = [f"| rows kept, of N | {' | '.join(f'{title}: hi | lo | both' for title in titles)} |"]
    lines.append("|---|" + "---:|---:|---:|" * len(titles))
    every = [part.statistics for part in measured.values()]
    shares = {
        "dX": [(part.dx_hi, part.dx_lo) for part in every],
        "dW": [part.dw_kept for part in every],
    }
    for worth in sorted({worth for part in every for worth in (*part.dw_hi, *part.dw_lo)}):
        shares[f"dW, worth {worth}"] = [
            (part.dw_hi.get(worth, 0), part.dw_lo.get(worth, 0)) for part in every
        ]
    for name, pairs in shares.items():
        cells = [_share(value) for pair in pairs for value in (*pair, sum(pair))]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    powers = [part.dw_powers for part in measured.values()]
    cells = [f"{value:.2f}" for pair in powers for value in (*pair, sum(pair))]
    lines.append(f"| distinct worths in a dW | {' | '.join(cells)} |")
    products = ", ".join(
        f"{title}: {part.products:,} products" for title, part in zip(titles, measured.values())
    )
    count = len({run.seed for run in results.training.runs})
    rows = " and ".join(sorted({f"{part.rows:.0f}" for part in measured.values()}))
    lines += [
        "",
        f"Means over layers, steps and {count} seeds of INT4 ({products}, half of them dX); N is {rows}.",
    ]
    return "\n".join(lines)


def _share(value: float) -> str:
    return f"{value:.2%}" if value >= 0.00005 or not value else "< 0.01%"


def outliers(results: Results) -> str:
    """INT4 on MiniLM, layer by layer."""
    study = results.outliers
    ways = [f"{name}{turned}" for name in ("min-max", "best step") for turned in ("", ", turned")]
    head = " | ".join(f"{part}: {way}" for part in ("X", "X W") for way in ways)
    lines = [f"| layer | peak / rms of X | turned | {head} |", "|---|" + "---:|" * 10]
    for row in study.layers:
        errors = [f"{error:.1%}" for part in (row.activations, row.product) for error in vars(part).values()]
        name = row.layer.removeprefix("encoder.layer.").replace("query", "query (key, value)")
        lines.append(f"| {name} | {row.outlier:.1f} | {row.turned_outlier:.1f} | {' | '.join(errors)} |")
    lines.append("")
    for title, part in (("X", "activations"), ("X W", "product")):
        for way, text in (("minmax", "min-max"), ("best", "best step")):
            pairs = [
                (getattr(getattr(row, part), way), getattr(getattr(row, part), f"{way}_hadamard"))
                for row in study.layers
            ]
            better = sum(turned < plain for plain, turned in pairs)
            lines.append(
                f"- {title}, {text}: the transform lowers the error in {better} of {len(pairs)} layers, "
                f"from {mean(plain for plain, _ in pairs):.1%} to {mean(turned for _, turned in pairs):.1%} in the mean."
            )
    lines += [
        "",
        f"{study.sentences} sentences, {study.tokens:,} tokens of {study.source}; blocks of {study.block}; seed {study.seed}.",
    ]
    return "\n".join(lines)


def own_outliers(results: Results) -> str:
    """The networks that the study trains, beside MiniLM."""
    study = results.training
    lines = [
        "| feed-forward layers of | peak / rms of X, worst | turned | X: best step | best step, turned | X W: best step | best step, turned |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    minilm = tuple(row for row in results.outliers.layers if ".attention." not in row.layer)
    networks = {about["title"]: results.own[name] for name, about in study.tasks.items()}
    networks["MiniLM"] = minilm
    for title, rows in networks.items():
        cells = [f"{max(row.outlier for row in rows):.1f}", f"{max(row.turned_outlier for row in rows):.1f}"]
        for part in ("activations", "product"):
            means = [
                mean(getattr(getattr(row, part), way) for row in rows) for way in ("best", "best_hadamard")
            ]
            cells += [f"{value:.1%}" for value in means]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def versions(results: Results) -> str:
    """Of packages, and the seeds."""
    study = results.training
    every = sorted(
        {**study.versions, **results.outliers.versions, IMAGE_PACKAGE: version(IMAGE_PACKAGE)}.items()
    )
    seeds = ", ".join(str(seed) for seed in sorted({run.seed for run in study.runs}))
    return f"Seeds {seeds}. {', '.join(f'{name} {number}' for name, number in every)}."


PARTS = {
    part.__name__: part
    for part in (tasks, accuracy, findings, losses, sampling, outliers, own_outliers, versions)
}


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=list(TASKS), metavar="TASK", help=", ".join(TASKS))
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many, from 0 on")
    parser.add_argument("--steps", type=int, help="of a run (each task's own number)")
    parser.add_argument("--json", type=Path, default=Path("build/int4_training.json"), metavar="FILE")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a page with markers")
    arguments = parser.parse_args()
    try:
        study = int4_training(
            arguments.tasks, seeds=range(arguments.seeds), steps=arguments.steps,
            progress=lambda line: print(line, file=sys.stderr, flush=True),
        )  # fmt: skip
        sampled = {}
        for name in study.tasks:
            print(f"int4_sampling: {name}", file=sys.stderr, flush=True)
            sampled[name] = sampling_statistics(
                TASKS[name](), seeds=range(arguments.seeds), steps=arguments.steps
            )
        print("int4_outliers: MiniLM", file=sys.stderr, flush=True)
        minilm, own = int4_outliers(), {}
        for name in study.tasks:
            print(f"int4_outliers: {name}", file=sys.stderr, flush=True)
            own[name] = task_outliers(TASKS[name](), steps=arguments.steps)
        results = Results(training=study, outliers=minilm, own=own, sampling=sampled)
        write_json(arguments.json, asdict(results))
    except UserError as error:
        sys.exit(f"error: {error}")
    texts = {name: part(results) for name, part in PARTS.items()}
    if arguments.write is None:
        print("\n\n".join(texts.values()))
        return
    for part, text in texts.items():
        write_part(arguments.write, part, text, by="benchmarks/int4_training.py")


if __name__ == "__main__":
    main()
