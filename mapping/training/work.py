"""What a training step is made of."""

from typing import TypeAlias

from lanewise.mapping.kernels.adamw import AdamWWork
from lanewise.mapping.kernels.movement import FillWork
from lanewise.mapping.kernels.operand import PeakWork, QuantiseWork, SampleWork
from lanewise.mapping.kernels.row_gradients import ColumnSumsWork, RowGradientsWork
from lanewise.mapping.lower import Work

TrainingWork: TypeAlias = (
    Work | PeakWork | QuantiseWork | SampleWork | FillWork | RowGradientsWork | ColumnSumsWork | AdamWWork
)  # fmt: skip
"""Any work: those of inference, and what is behind and around them in training."""
