"""Training in INT4 against FP32: a small transformer from scratch, on real data, over seeds, with ablations."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import cos, pi
from pathlib import Path
from time import process_time
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from lanewise.errors import UserError
from lanewise.files import cache_folder, write_json
from lanewise.models.int4 import Int4Config, quantize
from lanewise.models.int4_tasks import TASKS, Task
from lanewise.models.one_thread import one_thread

Progress = Callable[[str], None]

VARIANTS: Mapping[str, Int4Config | None] = {
    "FP32": None,
    "INT4": Int4Config(),
    "INT4, attention INT8": Int4Config(attention_bits=8),
    "INT4, no sampling": Int4Config(sampling=False),
    "INT4, no Hadamard": Int4Config(hadamard=False),
    "INT4, no bit splitting": Int4Config(bit_splitting=False),
    "naive INT4": Int4Config(naive=True),
}
REFERENCE = "FP32"
SEEDS = (0, 1, 2)
STEP_RATE = 0.002
"""Learning rate of a quantiser's step, as a share of the step: Adam moves it by the rate, whatever the gradient."""
WEIGHT_DECAY = 0.01
WARM_UP = 0.1
"""Share of the run in which the learning rate rises; then it falls to 0 as a cosine."""
PROBE = 3
"""Steps whose result decides, beside the settings, whether a kept run is this one."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training."""

    task: str
    variant: str
    seed: int
    accuracy: float
    """Share of right answers on the test set, at the end."""
    loss: float
    """Cross entropy on the test set, nats, at the end."""
    train_loss: float
    """Mean of the last tenth of the steps, nats."""
    seconds: float
    """Of the processor, evaluation left out; of the machine that ran it."""


@dataclass(frozen=True, kw_only=True)
class Int4Study:
    """All runs, with what is needed to repeat them."""

    runs: tuple[Run, ...]
    tasks: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, str]

    def of(self, task: str, variant: str) -> list[Run]:
        """The seeds' runs."""
        return [run for run in self.runs if (run.task, run.variant) == (task, variant)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Training:
    """A network, its optimiser and its order of samples, all of one seed."""

    def __init__(self, task: Task, config: Int4Config | None, seed: int, steps: int) -> None:
        self.task, self.steps, self.done = task, steps, 0
        torch.manual_seed(seed)
        network: nn.Module = task.network()
        if config is not None:
            network = quantize(network, config, include=["encoder.*"], seed=seed)
        self.network = network
        learned = [p for name, p in network.named_parameters() if ".step_" in name]
        others = [p for name, p in network.named_parameters() if ".step_" not in name]
        groups = [{"params": others, "weight_decay": WEIGHT_DECAY, "rate": task.learning_rate}]
        if learned:
            with torch.no_grad():
                network(task.train[0][: task.batch])  # sets the steps
            groups += [
                {"params": [step], "weight_decay": 0.0, "rate": STEP_RATE * float(step.detach())}
                for step in learned
            ]
        self.optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self.order = torch.Generator().manual_seed(seed)

    def step(self) -> float:
        """One batch; returns its loss."""
        warm = max(WARM_UP * self.steps, 1)
        place = self.done + 1
        factor = min(place / warm, (1 + cos(pi * max(place - warm, 0) / max(self.steps - warm, 1))) / 2)
        for group in self.optimiser.param_groups:
            group["lr"] = group["rate"] * factor
        inputs, classes = self.task.train
        chosen = torch.randint(len(inputs), (self.task.batch,), generator=self.order)
        loss = functional.cross_entropy(
            self.network(inputs[chosen]).flatten(0, -2), classes[chosen].flatten()
        )
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.done += 1
        return float(loss.detach())

    def digest(self) -> str:
        """Of all parameters and buffers."""
        result = hashlib.sha256()
        for name, tensor in self.network.state_dict().items():
            result.update(name.encode() + tensor.contiguous().numpy().tobytes())
        return result.hexdigest()

    def evaluate(self) -> tuple[float, float]:
        """Share of right answers and cross entropy on the test set."""
        self.network.eval()
        right, loss, count = 0, 0.0, 0
        with torch.no_grad():
            for inputs, classes in zip(*(torch.split(part, 500) for part in self.task.test), strict=True):
                scores, wanted = self.network(inputs).flatten(0, -2), classes.flatten()
                right += int((scores.argmax(-1) == wanted).sum())
                loss += float(functional.cross_entropy(scores, wanted, reduction="sum"))
                count += wanted.numel()
        self.network.train()
        return right / count, loss / count


def train(task: Task, variant: str, seed: int, *, steps: int | None = None, cache: Path | None = None) -> Run:
    """Train one network and test it, or read the result of a run whose first steps gave the same bits.

    Args:
        task: What on.
        variant: A key of :data:`VARIANTS`.
        seed: Of the parameters, the samples' order and the generators.
        steps: The task's own number if ``None``.
        cache: Folder of results; that of :func:`~lanewise.files.cache_folder` if ``None``.
    """
    steps = task.steps if steps is None else steps
    with one_thread():
        training, begin = Training(task, VARIANTS[variant], seed, steps), process_time()
        losses = [training.step() for _ in range(min(PROBE, steps))]
        settings = (task.name, variant, seed, steps, task.batch, training.digest(), *_versions().items())
        key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:24]
        path = (cache_folder() if cache is None else cache) / "int4-training" / f"{key}.json"
        if path.exists():
            return Run(**json.loads(path.read_text(encoding="utf-8")))
        losses += [training.step() for _ in range(steps - len(losses))]
        seconds = process_time() - begin
        accuracy, loss = training.evaluate()
    last = losses[-max(steps // 10, 1) :]
    run = Run(
        task=task.name, variant=variant, seed=seed, accuracy=accuracy, loss=loss,
        train_loss=sum(last) / len(last), seconds=seconds,
    )  # fmt: skip
    write_json(path, asdict(run))
    return run


def int4_training(
    tasks: Sequence[str] = tuple(TASKS),
    variants: Sequence[str] = tuple(VARIANTS),
    seeds: Sequence[int] = SEEDS,
    *,
    steps: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Int4Study:
    """Train all, seed by seed; an interrupted study goes on where it stopped.

    Args:
        tasks: Keys of :data:`~lanewise.models.int4_tasks.TASKS`.
        variants: Keys of :data:`VARIANTS`.
        seeds: Each trains every variant once.
        steps: Of a run; each task's own number if ``None``.
        cache: As for :func:`train`.
        progress: Called with each result.

    Raises:
        UserError: A task or variant is unknown, a number is not possible, or a package is missing.
    """
    for title, given, known in (("task", tasks, TASKS), ("variant", variants, VARIANTS)):
        for name in given:
            if name not in known:
                raise UserError(f"{title} must be one of {', '.join(known)}, not {name!r}")
    if steps is not None and steps < 1:
        raise UserError(f"steps must be at least 1, not {steps}")
    loaded = [TASKS[name]() for name in tasks]
    runs = []
    for seed in seeds:
        for task in loaded:
            for variant in variants:
                run = train(task, variant, seed, steps=steps, cache=cache)
                runs.append(run)
                if progress is not None:
                    progress(
                        f"int4_training: {task.name}, seed {seed}, {variant}: {run.accuracy:.2%}, {run.seconds:.0f} s"
                    )
    about = {
        task.name: {
            "title": task.title, "data": task.data, "licence": task.licence, "score": task.score,
            "train": len(task.train[0]), "test": task.test[1].numel(), "steps": task.steps if steps is None else steps,
            "batch": task.batch, "learning_rate": task.learning_rate,
            "parameters": sum(p.numel() for p in task.network().parameters()),
        }
        for task in loaded
    }  # fmt: skip
    return Int4Study(runs=tuple(runs), tasks=about, versions=_versions())


def _versions() -> dict[str, str]:
    """Of the libraries that decide the numbers."""
    return {name: version(name) for name in ("torch", "numpy")}
