"""The traced graph's multiply-accumulates beside those of PyTorch's own counter, which looks at the same forward pass."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from lanewise.mapping.graph import Graph
from lanewise.mapping.trace import trace

if TYPE_CHECKING:
    import torch

    from lanewise.mapping.networks import Inputs


_NEEDS_TRACER = ("meta", "expected gradient function")
"""A number that is read out of a tensor; a parameter that is made in the forward pass, of which the counter expects a gradient."""


@dataclass(frozen=True, kw_only=True)
class MacCounts:
    """One network counted twice.

    The conventions are the same: a product of ``(m, k)`` and ``(k, n)`` has ``m k n`` multiply-accumulates, a convolution one
    a result, tap and input channel of the group, padding included; biases have none, nor has anything element-wise. The graph has
    those that depend on an input in ``Graph.macs`` and those of parameters and constants alone, which are folded
    at compile time, in ``Graph.folded_macs``; PyTorch's counter sees both run.
    """

    model: str
    graph: int
    """``Graph.macs``."""
    folded: int
    """``Graph.folded_macs``."""
    counted: int
    """Half of what ``torch.utils.flop_counter.FlopCounterMode`` counts."""
    uncounted: Mapping[str, int]
    """Multiply-accumulates of operators that it does not know, by aten name: products of a matrix or vector and a vector."""

    alone: bool = True
    """Whether PyTorch's counter had a pass of its own, in which nothing of lanewise took part."""

    @property
    def difference(self) -> int:
        """Ours less PyTorch's; 0 where both agree."""
        return self.graph + self.folded - self.counted

    @property
    def unexplained(self) -> int:
        """Of the difference, what is not in operators that PyTorch's counter does not know."""
        return self.difference - sum(self.uncounted.values())

    @property
    def reason(self) -> str:
        """Why the two differ; empty if they do not."""
        if not self.difference:
            return ""
        known = [f"{name} {macs:,}" for name, macs in sorted(self.uncounted.items())]
        parts = [f"not counted by PyTorch: {', '.join(known)}"] if known else []
        if self.unexplained:
            parts.append(f"unexplained: {self.unexplained:+,}")
        return "; ".join(parts)


def mac_counts(
    module: "torch.nn.Module", inputs: "Inputs", *, model: str = "module", graph: Graph | None = None
) -> MacCounts:
    """Count a network's multiply-accumulates both ways, on whatever device it is (``meta`` computes nothing).

    PyTorch's counter has a forward pass of its own. A network that reads a number out of a tensor, which is impossible on ``meta``,
    has one pass for both: the tracer knows such numbers, and hands every operator on to the counter.

    Args:
        module: Any network; runs in evaluation mode.
        inputs: Positional arguments, or arguments by name.
        graph: Their trace, if it is there already.

    Raises:
        Exception: Whatever the forward pass raises.
    """
    args = () if isinstance(inputs, Mapping) else tuple(inputs)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    graph = graph or trace(deepcopy(module), inputs, model=model)
    alone, other = (
        True,
        deepcopy(module),
    )  # a network may keep what a pass has computed, and skip it in the next
    try:
        counted, uncounted = counted_macs(lambda: other.eval()(*args, **kwargs), other)
    except (RuntimeError, AssertionError) as error:
        if not any(sign in str(error).lower() for sign in _NEEDS_TRACER):
            raise
        alone = False
        counted, uncounted = counted_macs(lambda: trace(module, inputs, model=model), module)
    return MacCounts(
        model=model, graph=graph.macs, folded=graph.folded_macs, counted=counted, uncounted=uncounted, alone=alone
    )  # fmt: skip


def counted_macs(run: Callable[[], Any], module: "torch.nn.Module") -> tuple[int, dict[str, int]]:
    """Multiply-accumulates of ``run``, a forward pass of ``module``, by ``FlopCounterMode``; and those of what it leaves out, by name."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    aten = torch.ops.aten

    def product(left: tuple[int, ...], *_: Any, **__: Any) -> int:
        return 2 * prod(left)

    def added(_bias: tuple[int, ...], left: tuple[int, ...], *_: Any, **__: Any) -> int:
        return 2 * prod(left)

    vectors = {aten.mv: product, aten.dot: product, aten.vdot: product, aten.addmv: added}
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused encoder layer is none of the counter's operators
    try:
        for parameter in trained:
            parameter.requires_grad_(False)  # the counter follows gradients, of which there are none
        with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=vectors) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        for parameter in trained:
            parameter.requires_grad_(True)
    counts = counter.get_flop_counts().get("Global", {})
    total = sum(flops for packet, flops in counts.items() if packet not in vectors)
    left_out = {str(packet): flops // 2 for packet, flops in counts.items() if packet in vectors}
    return total // 2, left_out
