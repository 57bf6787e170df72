"""The end of a gradient's way back: from the products of sampled INT4 rows to the gradient of the real operand.

Source: Xi, Li, Chen, Zhu, arXiv 2306.11987; the learned step is LSQ's (Esser et al., 2020).
"""

from dataclasses import dataclass
from math import ceil

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Instruction, Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 4096
"""Elements that one DMA transfer brings."""


@dataclass(frozen=True, kw_only=True)
class TurnBackWork:
    """``dx = turn(mask * (hi + lo))`` on FP16 elements, and the two sums of the learned step's gradient.

    What the array gave is the gradient of the turned operand. It passes where the value was within the quantiser's range, and is
    turned back: log2(block) levels of butterflies, each a permutation and a multiply-add. With q the INT4 operand, x the real one and s
    the step, the step's gradient is ``sum(g * q) - sum(dx * x) / s``: turning is orthogonal, so the sum over turned
    values is one over real ones.
    """

    elements: int
    block: int
    run_elements: int
    """Contiguous elements: a row."""
    parts: float = 1.0
    """Products that are added for each element, on average: kept rows of both words over all rows."""

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers. What a row that was not kept would bring is not loaded; the addition is charged always."""
        chunk = min(CHUNK_ELEMENTS, self.elements)
        kernel = best_kernel(config, chunk, self._strip, prepare=_step_sums, multiple=min(self.block, chunk))
        names = ("hi", "lo", "q", "inside", "x", "out")
        body: list[Node] = list(kernel.setup)
        for count, elements in ((self.elements // chunk, chunk), (1, self.elements % chunk)):
            if not count or not elements:
                continue
            runs = ceil(self.parts * elements / self.run_elements)
            inner: list[Node] = [load("@hi.0", runs, 2 * min(elements, self.run_elements))]
            inner += [load("@q.0", 1, ceil(elements / 2)), load("@inside.0", 1, ceil(elements / 8))]
            inner += [load("@x.0", 1, 2 * elements), *repeat(kernel.strips(elements), *kernel.code)]
            inner.append(store("@out.0", 1, 2 * elements))
            body += repeat(count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in names))
        sizes = {"hi": 2 * chunk, "lo": 2 * chunk, "q": chunk // 2 + 1, "inside": chunk // 8 + 1}
        sizes |= {"x": 2 * chunk, "out": 2 * chunk}
        return Program(
            body=tuple(body),
            buffers_bytes={f"@{n}.{copy}": size for n, size in sizes.items() for copy in "01"},
        )

    def _strip(self, kernel: VectorKernel, shared: list[Register]) -> None:
        sum_q, sum_x = shared
        value = kernel.load("@hi.0")
        other = kernel.load("@lo.0")
        kernel.emit("vfadd.vv", value, other, into=value)
        kernel.release(other)
        q = self._integers(kernel)
        kernel.emit("vfmacc.vv", value, q, into=sum_q)
        kernel.release(q)
        mask = Register(first=0, length=1)
        kernel.code.append(_mask_load(kernel))
        kernel.emit("vmerge.vvm", value, value, mask, into=value)
        distance = 1
        while distance < self.block:  # x[i ^ distance] +- x[i], by a register of places and one of +-1
            signs, places = kernel.splat(float(distance)), kernel.splat(-float(distance))
            turned = kernel.emit("vrgather.vv", value, places)
            kernel.emit("vfmacc.vv", value, signs, into=turned)
            kernel.release(value)
            value, distance = turned, 2 * distance
        x = kernel.load("@x.0")
        kernel.emit("vfmacc.vv", value, x, into=sum_x)
        kernel.release(x)
        kernel.store("@out.0", value)
        kernel.release(value)

    def _integers(self, kernel: VectorKernel) -> Register:
        """INT4 operands as FP16: each pair to 16 bits, its nibbles to the upper ends of two bytes, bytes sign-extended, then to FP16."""
        half = max(1, kernel.vl // 2)
        packed = kernel.load("@q.0", sew_bits=8, vl=half)
        wide = kernel.emit("vzext.vf2", packed, sew_bits=8, result_bits=16, vl=half)
        kernel.release(packed)
        low = kernel.emit("vsll.vi", wide, sew_bits=16, vl=half, constant=4)
        kernel.emit("vand.vx", low, into=low, sew_bits=16, vl=half, constant=255)
        kernel.emit("vsll.vi", wide, into=wide, sew_bits=16, vl=half, constant=8)
        kernel.emit("vor.vv", wide, low, into=wide, sew_bits=16, vl=half)
        kernel.release(low)
        kernel.emit("vsra.vi", wide, into=wide, sew_bits=8, constant=4)
        result = kernel.emit("vfwcvt.f.x.v", wide, sew_bits=8, result_bits=16)
        kernel.release(wide)
        return result


def _mask_load(kernel: VectorKernel) -> Instruction:
    """Flags, a bit an element, into the mask register."""
    return Instruction(
        opcode="vle8.v", writes=("v0",), reads=("@inside.0",), vl=max(1, kernel.vl // 8), sew_bits=8
    )


def _step_sums(kernel: VectorKernel) -> list[Register]:
    return [kernel.allocate(), kernel.allocate()]
