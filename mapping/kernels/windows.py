"""Operators over a window of positions, channels innermost: pooling, depthwise convolution, sums over positions."""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps, format_bits, store_outputs
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Node, Program, Rotate, repeat

FUNCTIONS = ("max", "average", "depthwise")
UNROLLED_TAPS = 25
"""Larger windows run as a loop over their taps."""
BAND_BYTES = 32768


@dataclass(frozen=True, kw_only=True)
class WindowsWork:
    """``positions`` results of ``channels`` elements, each from ``taps`` inputs: a maximum, an average, or a weighted sum.

    The band of input rows that a band of results needs comes by DMA, ``halo`` input elements for each result element.
    """

    function: str
    positions: int
    channels: int
    taps: int
    input_positions: int
    """Positions of the whole input; the bands' overlap comes on top."""
    row_positions: int
    """Positions of one row of the input, and"""
    halo_rows: int
    """rows that two successive bands share."""
    steps: tuple[Step, ...] = ()
    outputs: tuple[str, ...] = ("fp16",)

    def __post_init__(self) -> None:
        if self.function not in FUNCTIONS:
            raise ValueError(f"function must be one of {', '.join(FUNCTIONS)}, not {self.function!r}")

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a depthwise convolution (on the vector unit); 0 for pooling."""
        return self.positions * self.channels * self.taps if self.function == "depthwise" else 0

    def program(self, config: MachineConfig) -> Program:
        """Bands through double buffers; in each, strips of channels, and in each of those every position."""
        kernel = best_kernel(config, self.channels, self._position, prepare=self._weights)
        strips = kernel.strips(self.channels)
        loop = self._taps_loop(config) if self.taps > UNROLLED_TAPS else None
        input_bytes = 2 * self.input_positions * self.channels
        bands = max(1, ceil(input_bytes / BAND_BYTES))
        bands = min(bands, self.positions)
        halo_bytes = 2 * self.halo_rows * self.row_positions * self.channels if bands > 1 else 0
        band_bytes = ceil(input_bytes / bands) + halo_bytes
        positions = ceil(self.positions / bands)
        tensors = [f"@operand{i}" for i, s in enumerate(self.steps) if s.operand == "tensor"]
        names = ["@in", *tensors, *(f"@{form}" for form in self.outputs)]
        body: list[Node] = []
        constants = 2 * self.channels * (1 + (self.taps if self.function == "depthwise" else 0))
        body.append(load("@weights", 1, constants))
        body += kernel.setup
        inner: list[Node] = [load("@in.0", 1, band_bytes)]
        inner += [load(f"{name}.0", 1, 2 * positions * self.channels) for name in tensors]
        code = loop if loop is not None else tuple(kernel.code)
        inner += repeat(strips, *self._weight_loads(kernel), *repeat(positions, *code))
        for form in self.outputs:
            bits = positions * self.channels * format_bits(form, config.matrix.operand_bits)
            inner.append(store(f"@{form}.0", 1, ceil(bits / 8)))
        inner += [Rotate(names=(f"{name}.0", f"{name}.1")) for name in names]
        body += repeat(bands, *inner)
        sizes = {f"{name}.{copy}": band_bytes for name in names for copy in "01"}
        return Program(body=tuple(body), buffers_bytes=sizes | {"@weights": constants})

    def _resident(self, kernel: VectorKernel) -> bool:
        return self.function == "depthwise" and self.taps * kernel.lmul(16) <= 16

    def _weights(self, kernel: VectorKernel) -> list[Register]:
        return [kernel.allocate() for _ in range(self.taps)] if self._resident(kernel) else []

    def _weight_loads(self, kernel: VectorKernel) -> list[Node]:
        probe = VectorKernel(config=kernel.config, vl=kernel.vl)
        if self._resident(kernel):
            for _ in range(self.taps):
                probe.load("@weights")
        return list(probe.code)

    def _position(self, kernel: VectorKernel, weights: list[Register]) -> None:
        total = kernel.load("@weights") if self.function == "depthwise" else kernel.load("@in.0")
        if self.taps <= UNROLLED_TAPS:
            for tap in range(self.taps if self.function == "depthwise" else self.taps - 1):
                self._tap(kernel, total, weights[tap] if weights else None)
        self._finish(kernel, total)

    def _tap(self, kernel: VectorKernel, total: Register, weight: Register | None) -> None:
        value = kernel.load("@in.0")
        if self.function == "max":
            kernel.emit("vfmax.vv", total, value, into=total)
        elif self.function == "average":
            kernel.emit("vfadd.vv", total, value, into=total)
        else:
            factor = weight if weight is not None else kernel.load("@weights")
            kernel.emit("vfmacc.vv", factor, value, into=total)
            if weight is None:
                kernel.release(factor)
        kernel.release(value)

    def _finish(self, kernel: VectorKernel, total: Register) -> None:
        if self.function == "average":
            kernel.emit("vfmul.vf", total, into=total, constant=1 / self.taps)
        operands: dict[int, Register | str] = {
            i: f"@operand{i}.0" if s.operand == "tensor" else "@weights"
            for i, s in enumerate(self.steps)
            if s.operand in ("tensor", "channel")
        }
        total = emit_steps(kernel, total, self.steps, operands)
        store_outputs(kernel, total, self.outputs, {form: f"@{form}.0" for form in self.outputs})
        kernel.release(total)

    def _taps_loop(self, config: MachineConfig) -> tuple[Node, ...]:
        """A window too large to unroll: load, loop over the taps, finish."""
        chosen = best_kernel(config, self.channels, self._position, prepare=self._weights)
        kernel = VectorKernel(
            config=config, vl=chosen.vl * chosen.ways if chosen.ways * chosen.lmul(16) <= 4 else chosen.vl
        )
        total = kernel.load("@weights") if self.function == "depthwise" else kernel.load("@in.0")
        before, kernel.code = kernel.code, []
        self._tap(kernel, total, None)
        tap, kernel.code = kernel.code, []
        self._finish(kernel, total)
        again = 1 if kernel.vl == chosen.vl * chosen.ways else chosen.ways
        return repeat(again, *kernel.setup, *before, *repeat(self.taps - 1, *tap), *kernel.code)
