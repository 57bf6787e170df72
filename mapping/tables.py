"""Flex-SFU's tables as tensors of external memory, by the names that Programs know them by."""

import numpy as np
import numpy.typing as npt

from lanewise.config import FlexSfuConfig, MachineConfig
from lanewise.mapping.functional import table_tensor
from lanewise.mapping.kernels.builder import TABLE
from lanewise.models.fit import fit
from lanewise.models.lsnn.tables import SLOPE, VALUE, table_pair
from lanewise.models.reduction_tables import reduction_table
from lanewise.models.spsn.bits import firing_table
from lanewise.sim.program import Program, flatten_once

REDUCED = "reduced "
"""What the names of functions of a reduced interval begin with."""


def table_bytes(tensor: str, config: FlexSfuConfig) -> npt.NDArray[np.uint8]:
    """The table that a tensor ``table FUNCTION`` holds, shape ``(bytes,)``.

    Raises:
        ValueError: There is no such function.
    """
    function = tensor.removeprefix(TABLE)
    if function.startswith(REDUCED):
        table = reduction_table(
            function.removeprefix(REDUCED), segments=config.segments, degree=config.degree
        )
    elif function == "firing":
        table = firing_table(config.segments, config.degree)
    elif function in (VALUE, SLOPE):
        pair = table_pair("matched", segments=config.segments, degree=config.degree)
        table = pair.value if function == VALUE or pair.slope is None else pair.slope
    else:
        table = fit(function, segments=config.segments, degree=config.degree).table()
    return table_tensor(config, table).view(np.uint8).copy()


def table_tensors(program: Program, config: MachineConfig) -> dict[str, npt.NDArray[np.uint8]]:
    """Every table that a Program loads."""
    names = dict.fromkeys(i.external.base for i in flatten_once(program.body) if i.external is not None)
    return {name: table_bytes(name, config.flex_sfu) for name in names if name.startswith(TABLE)}
