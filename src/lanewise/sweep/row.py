"""One row of ``results.parquet``: a network on a machine, done or failed."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Status: TypeAlias = Literal["done", "failed"]

NO_KERNEL = "no kernel for "
"""What the reason of a network begins with that only ``--allow-unmapped`` would price."""


@dataclass(frozen=True, kw_only=True)
class SweepRow:
    """A network on a machine and its baseline, by (:attr:`model`, :attr:`options`, :attr:`config_hash`) unique.

    Of a row that failed, whatever was not reached is ``None``.
    """

    model: str
    """As the command line takes it: ``timm:resnet50``, ``hf:bert``."""
    library: str
    """``timm``, ``transformers``, ``onnx``, ``pt2``."""
    family: str
    """Of networks published together: ``resnet``, ``bert``; the module of its library."""
    domain: str
    """``vision``, ``language``, ``audio``, ``multimodal`` or ``other``."""
    year: int | None
    """In which the architecture was published."""
    options: str
    """What the shapes depend on, such as ``batch=1 sequence=128``."""
    config_hash: str
    source_hash: str = ""
    """Of lanewise's own code and the libraries that the row comes from (:func:`lanewise.sweep.sources.row_hash`)."""
    config: str
    """What tells the machine from the default one, such as ``vector.lanes=8``; empty for the default."""
    status: Status
    reason: str = ""
    """Of a failure, in one line: the operator or the exception."""
    cycles: int | None = None
    baseline_cycles: int | None = None
    speedup: float | None = None
    macs: int | None = None
    parameters: int | None = None
    """Elements of all parameters, shared ones once."""
    bytes: int | None = None
    """Moved from and to external memory."""
    instructions: int | None = None
    tasks: int | None = None
    activations: dict[str, int] = field(default_factory=dict)
    """Elements through each non-linear function that Flex-SFU has a table for, softmax's exp included."""
    activation_share: float | None = None
    """Share of the baseline's cycles in tasks that compute such a function; 0 to 1."""
    busy_clk: dict[str, int] = field(default_factory=dict)
    """Clocks that each unit was held on the machine; likewise"""
    baseline_busy_clk: dict[str, int] = field(default_factory=dict)
    """on the baseline."""
    kinds: dict[str, int] = field(default_factory=dict)
    """Cycles by kind of operator on the machine; likewise"""
    baseline_kinds: dict[str, int] = field(default_factory=dict)
    """on the baseline."""
    unmapped: list[str] = field(default_factory=list)
    """Operators without a kernel, where they were allowed."""
    trace_seconds: float | None = None
    """CPU seconds of building and tracing; 0 if the trace was there."""
    seconds: float | None = None
    """CPU seconds of reading the trace, lowering and pricing."""
    peak_bytes: int | None = None
    """Largest resident memory of the process until then."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two rows of a file have in common."""
        return self.model, self.options, self.config_hash
