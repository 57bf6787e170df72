"""ONNX's operators, each by PyTorch's own."""

from collections.abc import Mapping

from lanewise.models.onnx.call import Operator
from lanewise.models.onnx.operators.control import CONTROL
from lanewise.models.onnx.operators.elementwise import ELEMENTWISE
from lanewise.models.onnx.operators.gather import GATHER
from lanewise.models.onnx.operators.microsoft import MICROSOFT
from lanewise.models.onnx.operators.products import PRODUCTS
from lanewise.models.onnx.operators.quantised import QUANTISED
from lanewise.models.onnx.operators.recurrent import RECURRENT
from lanewise.models.onnx.operators.reductions import REDUCTIONS
from lanewise.models.onnx.operators.shapes import SHAPES
from lanewise.models.onnx.operators.windows import WINDOWS

OPERATORS: Mapping[str, Operator] = {
    **ELEMENTWISE, **SHAPES, **GATHER, **WINDOWS, **REDUCTIONS, **PRODUCTS, **RECURRENT, **QUANTISED, **CONTROL,
    **MICROSOFT,
}  # fmt: skip
"""By name, with the domain in front unless it is ONNX's own."""
