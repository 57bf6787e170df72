"""Networks on the INT4 array, in evaluation and in training.

:func:`quantize` makes such a network of any other.
"""

from lanewise.models.int4.config import Int4Config
from lanewise.models.int4.layers import Int4Linear, Int4MultiheadAttention
from lanewise.models.int4.quantize import quantize

__all__ = ["Int4Config", "Int4Linear", "Int4MultiheadAttention", "quantize"]
