"""How a layer's products become INT4."""

from dataclasses import dataclass
from typing import Any

from lanewise.config import HADAMARD_BLOCKS
from lanewise.errors import UserError

ATTENTION_BITS = (None, 8)
"""What the operands of attention's own products can be."""


@dataclass(frozen=True, kw_only=True)
class Int4Config:
    """Quantisation of linear layers after Xi, Li, Chen and Zhu (arXiv 2306.11987); what is switched off is an ablation.

    Raises:
        UserError: A field is not one of its choices.
    """

    backward: bool = True
    """Whether gradients' products are INT4, too; else they are FP32, of the quantised operands."""
    hadamard: bool = True
    """Whether the operands are turned before they are quantised."""
    block: int = 32
    """Elements that are turned together: 8, 16, 32 or 64; of a width that is no multiple, the largest that divides it, or 1."""
    bit_splitting: bool = True
    """Whether a gradient is two INT4 words; else one, rounded stochastically: its largest magnitude becomes 7."""
    sampling: bool = True
    """Whether gradients' rows are sampled: of the 2 N rows of both words N on average. One word's N rows are all kept."""
    naive: bool = False
    """Plain INT4 instead: all of X, W and the gradient to the nearest, their largest magnitude becomes 7; nothing of the above."""
    attention_bits: int | None = None
    """Of the operands of attention's own products, QK^T and PV, and of their gradients' products: 8, or ``None``, which leaves
    them real, as the paper does. The INT4 array takes INT8 in four passes, exactly."""
    lanes: int = 16
    """Random generators of the gradient's quantiser; the row sampler has one of its own."""
    seed: int = 0
    """Of the generators."""

    def __post_init__(self) -> None:
        if self.block not in HADAMARD_BLOCKS:
            raise UserError(
                f"block must be one of {', '.join(map(str, HADAMARD_BLOCKS))}, not {self.block!r}"
            )
        if self.attention_bits not in ATTENTION_BITS:
            raise UserError(
                f"attention_bits must be {' or '.join(map(str, ATTENTION_BITS))}, not {self.attention_bits!r}"
            )
        if not 1 <= self.lanes <= 1024:
            raise UserError(f"lanes must be 1 to 1024, not {self.lanes!r}")

    @staticmethod
    def of(config: "Int4Config | None", **options: Any) -> "Int4Config":
        """``config``, or the default, with the fields that ``options`` name.

        Raises:
            UserError: There is no such field, or it is not one of its choices.
        """
        fields = dict(vars(config or Int4Config()))
        for name in options:
            if name not in fields:
                raise UserError(f"option must be one of {', '.join(fields)}, not {name!r}")
        return Int4Config(**(fields | options))

    @property
    def splits(self) -> bool:
        """Whether gradients are two words."""
        return self.bit_splitting and not self.naive

    def turned(self, width: int) -> int:
        """Elements that are turned together in an operand of this width."""
        wanted = self.block if self.hadamard and not self.naive else 1
        return next(block for block in reversed(HADAMARD_BLOCKS) if block <= wanted and width % block == 0)
