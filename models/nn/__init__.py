"""Networks on the hardware: activations, softmax and norms by its bits, in evaluation and in training.

:func:`approximate` makes such a network of any other, :func:`error_report` says what that changes. ``HardwareFunctions`` and
``Fp16Results`` are the accuracy study's contexts.
"""

from lanewise.models.nn.activation import Activation, activation
from lanewise.models.nn.approximate import approximate, calibrate, exact
from lanewise.models.nn.config import DEFAULT_FUNCTIONS, FLEX_FUNCTIONS, FURTHER_FUNCTIONS, ApproximateConfig
from lanewise.models.nn.error_report import ErrorReport, ErrorRow, error_report
from lanewise.models.nn.hardware_functions import Fp16Results, HardwareFunctions
from lanewise.models.nn.lookup import Lookup, exact_lookup, flex_sfu_lookup, look_up, table_lookup
from lanewise.models.nn.straight_through import activated, flex_sfu_function

__all__ = [
    "DEFAULT_FUNCTIONS", "FLEX_FUNCTIONS", "FURTHER_FUNCTIONS", "Activation", "ApproximateConfig", "ErrorReport", "ErrorRow",
    "Fp16Results", "HardwareFunctions", "Lookup", "activated", "activation", "approximate", "calibrate", "error_report",
    "exact", "exact_lookup", "flex_sfu_function", "flex_sfu_lookup", "look_up", "table_lookup",
]  # fmt: skip
