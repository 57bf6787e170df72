"""The optimiser's step on the vector unit."""

from dataclasses import dataclass

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.builder import Register, VectorKernel
from lanewise.mapping.kernels.strips import best_kernel, load, store
from lanewise.sim.program import Node, Program, Rotate, repeat

CHUNK_ELEMENTS = 4096
"""Parameters that one DMA transfer brings."""


@dataclass(frozen=True, kw_only=True)
class AdamWWork:
    """AdamW (Loshchilov and Hutter, 2019) on ``elements`` parameters: FP16 gradient; FP32 moments and master copy; FP16 copy out.

    The square root's reciprocal is the 7-bit estimate and two Newton steps. Bias corrections are scalars of the host.
    """

    elements: int

    @property
    def macs(self) -> int:
        """None: the array is not used."""
        return 0

    def program(self, config: MachineConfig) -> Program:
        """Chunks through double buffers."""
        chunk = min(CHUNK_ELEMENTS, self.elements)
        kernel = best_kernel(config, chunk, _strip, widest_bits=32)
        states = ("m", "v", "w")
        body: list[Node] = list(kernel.setup)
        for count, elements in ((self.elements // chunk, chunk), (1, self.elements % chunk)):
            if not count or not elements:
                continue
            inner: list[Node] = [load("@g.0", 1, 2 * elements)]
            inner += [load(f"@{name}.0", 1, 4 * elements) for name in states]
            inner += repeat(kernel.strips(elements), *kernel.code)
            inner += [store(f"@{name}.0", 1, 4 * elements) for name in states]
            inner.append(store("@half.0", 1, 2 * elements))
            body += repeat(
                count, *inner, *(Rotate(names=(f"@{n}.0", f"@{n}.1")) for n in ("g", "half", *states))
            )
        sizes = {f"@{name}.{copy}": 4 * chunk for name in states for copy in "01"}
        sizes |= {f"@{name}.{copy}": 2 * chunk for name in ("g", "half") for copy in "01"}
        return Program(body=tuple(body), buffers_bytes=sizes)


def _strip(kernel: VectorKernel, _: list[Register]) -> None:
    half = kernel.load("@g.0")
    g = kernel.emit("vfwcvt.f.f.v", half, sew_bits=16, result_bits=32)
    kernel.release(half)
    m, v = kernel.load("@m.0", sew_bits=32), kernel.load("@v.0", sew_bits=32)
    kernel.emit("vfmul.vf", m, into=m, sew_bits=32, constant=0.9)
    kernel.emit("vfmacc.vf", g, into=m, sew_bits=32, constant=0.1)
    kernel.emit("vfmul.vv", g, g, into=g, sew_bits=32)
    kernel.emit("vfmul.vf", v, into=v, sew_bits=32, constant=0.999)
    kernel.emit("vfmacc.vf", g, into=v, sew_bits=32, constant=0.001)
    kernel.store("@m.0", m, sew_bits=32)
    kernel.store("@v.0", v, sew_bits=32)
    kernel.release(g)
    kernel.emit(
        "vfadd.vf", v, into=v, sew_bits=32, constant=1e-16
    )  # the square of AdamW's epsilon, inside the root
    root = kernel.emit("vfrsqrt7.v", v, sew_bits=32)
    for _step in range(2):  # y (3 - v y^2) / 2
        square = kernel.emit("vfmul.vv", root, root, sew_bits=32)
        kernel.emit("vfnmsub.vv", v, kernel.splat(3.0, 32), into=square, sew_bits=32)
        kernel.emit("vfmul.vf", root, into=root, sew_bits=32, constant=0.5)
        kernel.emit("vfmul.vv", root, square, into=root, sew_bits=32)
        kernel.release(square)
    kernel.emit("vfmul.vv", m, root, into=m, sew_bits=32)
    kernel.release(v, root)
    w = kernel.load("@w.0", sew_bits=32)
    kernel.emit("vfmul.vf", w, into=w, sew_bits=32, constant=0.99999)
    kernel.emit("vfnmsac.vf", m, into=w, sew_bits=32, constant=1e-4)
    kernel.store("@w.0", w, sew_bits=32)
    narrow = kernel.emit("vfncvt.f.f.w", w, sew_bits=32, result_bits=16)
    kernel.store("@half.0", narrow)
    kernel.release(m, w, narrow)
