"""The three products of a linear layer in training, with all that an INT4 array needs around them.

Source: Xi, Li, Chen, Zhu, arXiv 2306.11987; what the integers are: :mod:`lanewise.models.int4`. With N rows, K inputs, M outputs:

* forward: the largest magnitudes of X and W, transform and quantiser of each, the product;
* backward: the largest magnitude of dY, its two words and their row norms (X's are there), probabilities and sampling for each product; dX of the kept
  rows, each scaled by 1 / p on its way out, masked, turned back and added to what the other word gave; dW of the kept rows, a product for each word and
  worth, added up, masked, turned back.

An FP16 array has the three products alone. The bias's gradient is a sum over rows on either.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lanewise.config import HADAMARD_BLOCKS
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.movement import FillWork, LookUpWork
from lanewise.mapping.kernels.operand import PeakWork, QuantiseWork, SampleWork
from lanewise.mapping.kernels.patches import Patches
from lanewise.mapping.kernels.row_gradients import ColumnSumsWork
from lanewise.mapping.kernels.turn_back import TURN_BACK
from lanewise.mapping.training.work import TrainingWork
from lanewise.models.sampling_statistics import SamplingStatistics

Part = tuple[str, TrainingWork]
"""What a work is for (``product``, ``quantise``, ``sample``, ``turn back``, ``bias``), and the work."""


@dataclass(frozen=True, kw_only=True)
class Linear:
    """``Y = X W^T + b``: X ``(rows, inputs)``, W ``(outputs, inputs)``."""

    rows: int
    inputs: int
    outputs: int
    bias: bool = True
    steps: tuple[Step, ...] = ()
    """What is done to Y before it is stored."""
    left_runs: int = 0
    """Contiguous runs of a row of X, which is priced and no more; 0: X lies as said."""
    left_transposed: bool = False
    """X is stored with its rows, not its inputs, contiguous."""
    left_pitch: int = 0
    """Elements from row to row of X, or from input to input; 0: side by side."""
    patches: Patches | None = None
    """Of a convolution: X is these."""

    @property
    def product(self) -> MatmulWork:
        """The forward product."""
        return MatmulWork(
            m=self.rows, k=self.inputs, n=self.outputs, left_runs=self.left_runs, left_transposed=self.left_transposed,
            left_pitch=self.left_pitch, patches=self.patches, weights=self.bias, steps=self.steps,
        )  # fmt: skip


def input_gradient(layer: Linear, bits: int = 0) -> MatmulWork:
    """``dX = dY W``, all rows."""
    return MatmulWork(
        m=layer.rows, k=layer.outputs, n=layer.inputs, right_transposed=True, weights=False, left_bits=bits, right_bits=bits
    )  # fmt: skip


def weight_gradient(layer: Linear, bits: int = 0) -> MatmulWork:
    """``dW = dY^T X``, all rows."""
    return MatmulWork(
        m=layer.outputs, k=layer.rows, n=layer.inputs, left_transposed=True, right_transposed=True, weights=False,
        left_bits=bits, right_bits=bits,
    )  # fmt: skip


def block_of(inputs: int, largest: int, columns: int) -> int:
    """The largest block of the transform, up to ``largest``, that divides the inputs and the columns of a tile, in which it is turned back.

    >>> block_of(1024, 32, 32), block_of(1024, 32, 24), block_of(1024, 32, 19)
    (32, 8, 1)
    """
    return max(b for b in HADAMARD_BLOCKS if b <= largest and inputs % b == 0 and columns % b == 0)


def fp16_forward(layer: Linear) -> list[Part]:
    """The product."""
    return [("product", layer.product)]


def fp16_backward(layer: Linear, *, inputs: bool) -> list[Part]:
    """The products of both gradients, or of the weight's alone if no gradient of the input is wanted."""
    parts: list[Part] = [("product", input_gradient(layer))] if inputs else []
    return [*parts, ("product", weight_gradient(layer)), *_bias(layer)]


def int8_forward(layer: Linear) -> list[Part]:
    """Operands to nearest INT8, and the product in four passes: layers that INT4 would harm (first and last)."""
    elements = (layer.rows * layer.inputs, layer.outputs * layer.inputs)
    product = replace(layer.product, left_bits=8, right_bits=8)
    return [*int8_operands(elements), ("product", product)]


def int8_operands(elements: Sequence[int]) -> list[Part]:
    """Largest magnitude and INT8 of tensors of so many elements."""
    return [
        ("quantise", work)
        for count in elements
        for work in (PeakWork(elements=count), QuantiseWork(elements=count, bits=8))
    ]


def int8_backward(layer: Linear, *, inputs: bool) -> list[Part]:
    """dY to stochastic INT8, and the products in four passes, all rows."""
    parts: list[Part] = int8_operands([layer.rows * layer.outputs])
    if inputs:
        parts.append(("product", input_gradient(layer, 8)))
    return [*parts, ("product", weight_gradient(layer, 8)), *_bias(layer)]


def int4_forward(layer: Linear, block: int) -> list[Part]:
    """Transform, quantiser, product."""
    parts: list[Part] = []
    for rows, row in ((layer.rows, layer.inputs), (layer.outputs, 0)):  # the norms of X are for dW's rows
        elements = rows * layer.inputs
        parts.append(("quantise", PeakWork(elements=elements)))
        parts.append(("quantise", QuantiseWork(elements=elements, block=block, flags=True, row=row)))
    return [*parts, ("product", layer.product)]


def int4_backward(layer: Linear, block: int, sampling: SamplingStatistics, *, pass_clk: int) -> list[Part]:
    """Words, norms, sampling, products of the kept rows, and the way back to the real operands.

    The product of dX is always there: the learned step of X wants it.

    Args:
        block: Of :func:`block_of`.
        pass_clk: Clocks that another pass over a tile of results costs: see :func:`weight_products`.
    """
    rows, k, m = layer.rows, layer.inputs, layer.outputs
    add, turn = Step(function="add", operand="tensor"), Step(function=TURN_BACK, constant=float(block))
    parts: list[Part] = [
        ("bias", ColumnSumsWork(rows=rows, columns=m, peak=True)) if layer.bias else ("quantise", PeakWork(elements=rows * m)),
        ("quantise", QuantiseWork(elements=rows * m, bits=8, row=m)),
    ]  # fmt: skip
    kept = max(1, round((sampling.dx_hi + sampling.dx_lo) * rows))
    parts += [
        ("sample", SampleWork(rows=2 * rows)),
        ("sample", _kept(kept, m)),
        ("turn back", FillWork(elements=rows * k)),
        ("product", MatmulWork(
            m=kept, k=m, n=k, right_transposed=True, weights=False, row_scales=True, steps=(turn, add),
        )),
        ("sample", SampleWork(rows=2 * rows, factors=2)),
    ]  # fmt: skip
    products = sorted(
        product for shares in (sampling.dw_hi, sampling.dw_lo) for product in weight_products(shares, rows, pass_clk)
    ) or [1]  # fmt: skip
    parts += [("sample", _kept(sum(products), width)) for width in (m, k)]
    for place, length in enumerate(products):  # the longest last: turning back is hidden behind it
        steps = ((add,) if place else ()) + ((turn,) if place == len(products) - 1 else ())
        product = MatmulWork(
            m=m, k=length, n=k, left_transposed=True, right_transposed=True, weights=False, steps=steps
        )
        parts.append(("product", product))
    return parts


def weight_products(shares: Mapping[int, float], rows: int, pass_clk: int) -> list[int]:
    """Lengths of the products that dW is of one word, from the kept rows' shares by worth.

    The rows of a worth are a product of their own, which the output path scales by the worth; or each is repeated in the product
    of half the worth, which is as exact, where that is shorter than another pass over all results.

    Args:
        shares: Of ``rows``, by worth, a power of two; less than half a row on average is left out.
        pass_clk: Clocks of a pass over a tile; a product of fewer steps takes as long.

    >>> weight_products({1: 0.5, 2: 0.25, 4: 0.01}, 1000, pass_clk=192)
    [500, 270]
    """
    lengths = {worth: round(share * rows) for worth, share in shares.items()}
    for worth in sorted(lengths, reverse=True):
        own, half = lengths[worth], lengths.get(worth // 2, 0)
        if worth == 1 or not own:
            continue
        apart = max(own, pass_clk) + (max(half, pass_clk) if half else 0)
        if max(half + 2 * own, pass_clk) <= apart:
            lengths[worth // 2] = half + 2 * own
            lengths[worth] = 0
    return [length for _, length in sorted(lengths.items()) if length]


def _kept(rows: int, width: int) -> LookUpWork:
    """Kept rows of INT4, gathered by their numbers, side by side."""
    return LookUpWork(rows=rows, width=width, form="quantised")


def _bias(layer: Linear) -> list[Part]:
    return [("bias", ColumnSumsWork(rows=layer.rows, columns=layer.outputs))] if layer.bias else []
