"""A layer of spiking neurons on the vector unit, from its inputs' products in FP16 to the next layer's INT4 operands.

Vectors lie across the neurons, half of them in each, so that two halves' masks make bytes of two INT4 spikes. A ``block`` of steps is
loaded at a time and filtered in place: each step of a filter is one multiply-add.

* LIF: the voltage is added to the current where its own mask says that it has not fired; comparison and masked multiply-add are the whole loop from step
  to step, the currents are ahead. The spikes of a step are packed while its mask is there, at the begin of the next: ``out`` has a row before the first.
* SPSN: nothing waits but the two multiply-adds. Flex-SFU gives the probability as an integer, compared with a random one
  (:mod:`lanewise.models.spsn.bits`). A machine without Flex-SFU compares ``(1 + exp(-v)) random`` with the whole range: no division.

The golden model is :mod:`lanewise.models.spsn.bits`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.price import banks, price
from lanewise.mapping.workloads.spsn.lif import lif_program
from lanewise.mapping.workloads.spsn.stochastic import QUANTISER, spsn_program
from lanewise.mapping.workloads.spsn.writer import Layout
from lanewise.models.spsn.random_numbers import GENERATORS
from lanewise.sim.program import Program

MODELS = ("lif", "spsn")
PROBE_STEPS = 512
"""Steps of the layer that layouts are compared on."""


@dataclass(frozen=True, kw_only=True)
class SpikingLayerWork:
    """``batch`` samples of ``neurons`` neurons for ``steps`` steps, from and to memory.

    Tensors: ``in``, FP16, shape ``(steps, batch, neurons)``; ``out``, bytes of two spikes, shape ``(rows, batch, neurons / 2)``, with ``rows`` =
    steps, for LIF one more, the first of which is without a spike; for SPSN ``seeds``, shape :meth:`seeds_shape`, 32-bit words.

    Raises:
        ValueError: ``model`` or ``generator`` is unknown, or ``neurons`` is no multiple of 4.
    """

    model: str
    """``lif`` or ``spsn``."""
    neurons: int
    steps: int
    batch: int = 1
    current_decay: float = 0.8
    voltage_decay: float = 0.9
    generator: str = "congruential"
    """Of random numbers (SPSN); ``quantiser``: those of the operand path, which is priced and no more."""
    segments: int = 1
    """Parts of the time of a single sample that run side by side (SPSN), each from a state of 0, and"""
    warm_up: int = 0
    """how many steps of the part before each begins with; the part before writes their results anew."""

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}")
        if self.generator not in (*GENERATORS, QUANTISER):
            raise ValueError(
                f"generator must be one of {', '.join((*GENERATORS, QUANTISER))}, not {self.generator!r}"
            )
        if self.neurons < 4 or self.neurons % 4:
            raise ValueError(f"neurons must be a multiple of 4, not {self.neurons}")
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1, not {self.steps} and {self.batch}")
        if self.segments > 1 and (self.model == "lif" or self.batch > 1):
            raise ValueError(f"segments must be 1 for LIF and for a batch, not {self.segments}")
        whole = self.steps + (self.segments - 1) * self.warm_up
        if whole % self.segments or self.line_distance < 1:
            raise ValueError(
                f"steps must be parts of one length, each longer than warm_up, not {self.steps} in {self.segments} with {self.warm_up}"
            )

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    @property
    def rows(self) -> int:
        """Rows of ``out`` for each sample."""
        return self.steps + (self.model == "lif")

    @property
    def lines(self) -> int:
        """Sequences that are side by side."""
        return self.batch * self.segments

    @property
    def line_steps(self) -> int:
        """Steps of each."""
        return (self.steps + (self.segments - 1) * self.warm_up) // self.segments

    @property
    def line_rows(self) -> int:
        """Rows of ``out`` that each writes."""
        return self.line_steps + (self.model == "lif")

    @property
    def line_distance(self) -> int:
        """Rows of neurons from one to the next in memory."""
        return 1 if self.segments == 1 else self.line_steps - self.warm_up

    def layout(self, config: MachineConfig) -> Layout:
        """The fastest layout.

        Raises:
            ValueError: Half of the neurons are more than the registers hold.
        """
        steps = min(self.line_steps, PROBE_STEPS)
        probe = replace(self, steps=steps, segments=1, warm_up=0, batch=self.lines)
        return _fastest(probe, config)

    def seeds_shape(self, config: MachineConfig) -> tuple[int, int]:
        """Groups of samples, and words of each one's states."""
        layout = self.layout(config)
        return self.lines // layout.lines, layout.drawn(self.neurons) // 2

    def program(self, config: MachineConfig) -> Program:
        """Groups of samples; of each, chunks of time through double buffers; blocks of steps.

        Raises:
            ValueError: Half of the neurons are more than the registers hold.
        """
        return write(self, config, self.layout(config))


def write(work: SpikingLayerWork, config: MachineConfig, layout: Layout) -> Program:
    """The Program of a work in a layout.

    Raises:
        ValueError: There are too few registers.
    """
    return (lif_program if work.model == "lif" else spsn_program)(work, config, layout)


@lru_cache(maxsize=256)
def _fastest(work: SpikingLayerWork, config: MachineConfig) -> Layout:
    best: tuple[int, Layout] | None = None
    for layout in _layouts(work, config):
        try:
            program = write(work, config, layout)
        except ValueError:  # more registers than there are
            continue
        if banks(program, config) > config.scratchpad.banks:
            continue
        clocks = price(program, config).cycles
        if best is None or clocks < best[0]:
            best = clocks, layout
    if best is None:
        raise ValueError(f"neurons must be what the registers hold, not {work.neurons}")
    return best[1]


def _layouts(work: SpikingLayerWork, config: MachineConfig) -> Iterator[Layout]:
    """All that may be the fastest."""
    if work.model == "spsn":
        yield from _of_width(work, config, work.neurons // 2, joint=None)
        return
    for joint in (False, True):
        yield from _of_width(work, config, work.neurons // (1 if joint else 2), joint=joint)


def _of_width(
    work: SpikingLayerWork, config: MachineConfig, width: int, joint: bool | None
) -> Iterator[Layout]:
    """With so many neurons in a vector; a step of a block begins with a register, so only whole registers go in blocks."""
    vlen = config.vector.vlen_bits
    fold = 1
    while 32 * fold * width <= vlen and work.lines % (2 * fold) == 0:
        fold *= 2
    registers, rest = divmod(16 * fold * width, vlen)
    whole = not rest and registers.bit_count() == 1
    for block in (1, 2, 4) if whole else (1,):
        for samples in (1, 2, 4):
            if work.lines % (fold * samples):
                continue
            for rounds in (4, 8):
                for rotating in (False, True) if joint is None and block == 1 else (False,):
                    yield Layout(
                        block=block, samples=samples, fold=fold, rounds=rounds, joint=whole if joint is None else joint,
                        rotating=rotating,
                    )  # fmt: skip
