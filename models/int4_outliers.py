"""What INT4 loses on a real network's activations, with and without the Hadamard transform, layer by layer."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import sqrt
from typing import Any

import torch
from torch import nn

from lanewise.models.int4.config import Int4Config
from lanewise.models.int4.integers import INT4_HIGH, turn
from lanewise.models.int4.operand import Operand, operand
from lanewise.models.int4_tasks import Task
from lanewise.models.int4_training import Training
from lanewise.models.minilm import MODEL_PACKAGE, TEXT_FILE, TEXT_PACKAGE, MiniLm, sentences
from lanewise.models.one_thread import one_thread
from lanewise.models.quantise import best_scale


@dataclass(frozen=True)
class Errors:
    """Relative errors, ``||quantised - real|| / ||real||``, of one operand or product in four ways of quantising."""

    minmax: float
    """The largest magnitude becomes 7."""
    minmax_hadamard: float
    """The same of the turned operand."""
    best: float
    """The step of least squared error of the operand: what is large and rare is clipped."""
    best_hadamard: float
    """The same of the turned operand."""


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """One linear layer of the network."""

    layer: str
    width: int
    outlier: float
    """Largest magnitude of the activations in their root mean squares."""
    turned_outlier: float
    """The same, turned."""
    activations: Errors
    product: Errors
    """Of the layer's result, before its bias; activations and weight both quantised."""


@dataclass(frozen=True, kw_only=True)
class OutlierStudy:
    """All layers, with what is needed to repeat it."""

    layers: tuple[LayerErrors, ...]
    block: int
    sentences: int
    tokens: int
    seed: int
    source: str
    versions: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def int4_outliers(count: int = 32, seed: int = 0, *, block: int = 32) -> OutlierStudy:
    """Errors of MiniLM's linear layers on real sentences. Query, key and value see the same activations: query stands for them.

    Args:
        count: Sentences.
        seed: Chooses them.
        block: Elements that are turned together.

    Raises:
        UserError: A package is missing, there are not so many sentences, or the block is not one of its choices.
    """
    network = MiniLm()
    parts = _linear_layers(network.module, leave=("key", "value"))
    with one_thread():
        seen = _inputs(parts, lambda: network.embed(sentences(count, seed)))
        layers = _layers_errors(parts, seen, block)
    packages = ("torch", "numpy", MODEL_PACKAGE, TEXT_PACKAGE)
    return OutlierStudy(
        layers=layers, block=block, sentences=count, tokens=len(seen[layers[0].layer]), seed=seed,
        source=f"{TEXT_PACKAGE}: {TEXT_FILE}", versions={name: version(name) for name in packages},
    )  # fmt: skip


def task_outliers(
    task: Task, seed: int = 0, *, steps: int | None = None, block: int = 32
) -> tuple[LayerErrors, ...]:
    """Errors of the feed-forward layers of a study's own network, trained in FP32, on its test set.

    Args:
        task: What it is trained on.
        seed: Of the training.
        steps: The task's own number if ``None``.
        block: Elements that are turned together.

    Raises:
        UserError: The block is not one of its choices.
    """
    with one_thread():
        training = Training(task, None, seed, task.steps if steps is None else steps)
        while training.done < training.steps:
            training.step()
        parts = _linear_layers(training.network, leave=("out_proj",))
        seen = _inputs(
            parts, lambda: training.network(task.test[0][:200])
        )  # in training: evaluation is fused
        return _layers_errors(parts, seen, block)


def _linear_layers(network: nn.Module, leave: tuple[str, ...]) -> dict[str, nn.Linear]:
    """Of the encoder, but those whose names end so."""
    return {
        name: part
        for name, part in network.named_modules()
        if isinstance(part, nn.Linear) and name.startswith("encoder.") and not name.endswith(leave)
    }


def _inputs(parts: dict[str, nn.Linear], run: Callable[[], object]) -> dict[str, torch.Tensor]:
    """What each layer sees while the network runs, shape ``(rows, k)``."""
    seen: dict[str, list[torch.Tensor]] = {}

    def record(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            seen.setdefault(name, []).append(inputs[0].detach().flatten(0, -2))

        return hook

    hooks = [part.register_forward_pre_hook(record(name)) for name, part in parts.items()]
    run()
    for hook in hooks:
        hook.remove()
    return {name: torch.cat(values) for name, values in seen.items()}


def _layers_errors(
    parts: dict[str, nn.Linear], seen: dict[str, torch.Tensor], block: int
) -> tuple[LayerErrors, ...]:
    config = Int4Config(block=block)
    return tuple(
        layer_errors(name, seen[name], part.weight.detach(), config.turned(part.in_features))
        for name, part in parts.items()
    )


def layer_errors(name: str, x: torch.Tensor, weight: torch.Tensor, block: int) -> LayerErrors:
    """Errors of one layer.

    Args:
        name: The layer's.
        x: Its activations, FP32, shape ``(rows, k)``.
        weight: Shape ``(n, k)``.
        block: Elements that are turned together.
    """
    ways = [
        tuple(quantised(part, size) for part in (x, weight))
        for quantised in (_minmax_operand, _best_operand)
        for size in (1, block)
    ]
    wanted = x @ weight.T
    values = [relative_error(left, x) for left, _ in ways]
    products = []
    for left, right in ways:
        product = (left.integers @ right.integers.T) * (left.step * right.step)
        products.append(float((product - wanted).norm() / wanted.norm()))
    size = sqrt(float(x.square().mean()))
    return LayerErrors(
        layer=name, width=x.shape[1], outlier=float(x.abs().max()) / size,
        turned_outlier=float(_turned(x, block).abs().max()) / size,
        activations=Errors(*values), product=Errors(*products),
    )  # fmt: skip


def relative_error(quantised: Operand, x: torch.Tensor) -> float:
    """``||quantised - x|| / ||x||``, which the turn does not change."""
    turned = _turned(x, quantised.block)
    return float((quantised.integers * quantised.step - turned).norm() / turned.norm())


def _turned(x: torch.Tensor, block: int) -> torch.Tensor:
    return turn(x, block) / sqrt(block)


def _best_operand(x: torch.Tensor, block: int) -> Operand:
    """``x`` in INT4 with the step of least squared error."""
    return operand(x, float(best_scale(_turned(x, block).reshape(1, -1), 4)), block)


def _minmax_operand(x: torch.Tensor, block: int) -> Operand:
    """``x`` in INT4 with the step that just clips nothing."""
    return operand(x, float(_turned(x, block).abs().max()) / INT4_HIGH, block)
