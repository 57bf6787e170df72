"""Unrolled deconvolution on the core: a gradient of the loss as works, the networks of the steps as they are traced, and what they take.

A detector's axes are X and Y, from the pupil's x and y; a frequency's are u, of X, and v, of Y. Frames are the planes. Frame f is transformed together
with frame f + frames / 2, the point spread functions being real. Of every pair of transforms, one along each axis, the real part is turned as it is stored, the
imaginary as it is loaded. Tensors, axes from the outermost:

========== ==================== =================
phase      f y x, the box alone FP16
field      f y x                A
wave       X f Y                W
psf        X f Y
transfer   v f u, half of u     S; spectra I likewise
slopes     v f u                G
by psf     X f Y
back       f y x, the box       transform of conj(W) times it
========== ==================== =================
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import gcd
from typing import TYPE_CHECKING, Any, cast

from lanewise.config import MachineConfig
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.fft import FftWork
from lanewise.mapping.kernels.fft_columns import ColumnsFftWork
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.recipe_work import RecipeWork, Stream
from lanewise.mapping.lower import lower
from lanewise.mapping.simulate import Simulation, simulate_lowered
from lanewise.mapping.task import Lowered, Task, Work
from lanewise.mapping.user import trace
from lanewise.models.fft_columns import PARTS, Columns

if TYPE_CHECKING:
    from lanewise.models.deconvolution.config import DeconvolutionConfig

CHUNK = 4096
"""Elements of a group, where it does not matter how many."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A work of the chain, and which of the chain's tensors its own are."""

    name: str
    kind: str
    """What its clocks are counted under."""
    work: Any
    tensors: Mapping[str, str] = field(default_factory=dict)
    """By the work's names; those that are not named have the same."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Formats of the chain."""

    transform_bits: int = 32
    """Of transforms and complex numbers: 32 or 16."""
    operand_bits: int = 8
    """Of the modes' products on the array: 8 or 4."""


def _named(**names: str) -> dict[str, str]:
    """A work's tensors by the chain's complex ones: ``x`` names ``x real`` and ``x imaginary``; the work's has spaces for underscores."""
    return {
        f"{local.rstrip('_')} {part}": f"{name} {part}" for local, name in names.items() for part in PARTS
    }


def _planes(
    source: str, target: str, *, real_source: bool = False, real_target: bool = False
) -> dict[str, str]:
    tensors = {"in": source} if real_source else {f"in {p}": f"{source} {p}" for p in PARTS}
    return tensors | ({"out": target} if real_target else {f"out {p}": f"{target} {p}" for p in PARTS})


def spectra_parts(config: "DeconvolutionConfig", setting: Setting, source: str, target: str) -> list[Part]:
    """Transforms of real planes X f Y, to v f u."""
    n, frames, bits = config.pixels, config.frames, setting.transform_bits
    along_x = ColumnsFftWork(
        columns=Columns(length=n, bits=bits, split=True), planes=frames // 2, width=n, sources=("rpc", "rpc"), results=("cpr", "prc")
    )  # fmt: skip
    along_y = ColumnsFftWork(
        columns=Columns(length=n, bits=bits), planes=frames, width=n // 2 + 1, sources=("rpc", "pcr"), results=("rpc", "rpc")
    )  # fmt: skip
    return [
        Part(name=f"{target}: along X", kind="transform", work=along_x, tensors=_planes(source, f"{target} half", real_source=True)),
        Part(name=f"{target}: along Y", kind="transform", work=along_y, tensors=_planes(f"{target} half", target)),
    ]  # fmt: skip


def image_parts(
    config: "DeconvolutionConfig", setting: Setting, source: str, target: str, frames: int
) -> list[Part]:
    """Transforms of half planes v f u of Hermitian numbers, to real planes X f Y."""
    n, bits = config.pixels, setting.transform_bits
    along_v = ColumnsFftWork(
        columns=Columns(length=n, bits=bits), planes=frames, width=n // 2 + 1, sources=("rpc", "rpc"), results=("pcr", "rpc")
    )  # fmt: skip
    along_u = ColumnsFftWork(
        columns=Columns(length=n, bits=bits, join=True), planes=frames // 2, width=n, sources=("prc", "cpr"), results=("rpc", "rpc")
    )  # fmt: skip
    return [
        Part(name=f"{target}: along v", kind="transform", work=along_v, tensors=_planes(source, f"{target} half")),
        Part(name=f"{target}: along u", kind="transform", work=along_u, tensors=_planes(f"{target} half", target, real_target=True)),
    ]  # fmt: skip


def wave_parts(config: "DeconvolutionConfig", setting: Setting) -> list[Part]:
    """From coefficients to waves and transfer functions."""
    from lanewise.models.deconvolution import formulas
    from lanewise.models.deconvolution.forward import ForwardModel
    from lanewise.models.deconvolution.scales import Scales

    n, box, frames, bits = config.pixels, config.box, config.frames, setting.transform_bits
    operands = setting.operand_bits
    phase = MatmulWork(m=frames, k=config.modes, n=box**2, left_bits=operands, right_bits=operands, shift=0)
    looked_up = [
        Part(
            name=f"{function} of the phase", kind="sine and cosine",
            work=ElementwiseWork(elements=frames * box**2, steps=(Step(function=function),)),
            tensors={"in": "phase", "fp16": function},
        )
        for function in ("cos", "sin")
    ]  # fmt: skip
    aperture = RecipeWork(
        recipes=(formulas.field(bits),), groups=frames, width=box**2,
        inputs=(Stream(name="aperture", bits=bits, shared=True), Stream(name="cos", bits=16), Stream(name="sin", bits=16)),
        outputs=tuple(Stream(name=f"in {part}", bits=bits) for part in PARTS),
    )  # fmt: skip
    along_y = ColumnsFftWork(
        columns=Columns(length=n, bits=bits, filled=box), planes=frames, width=box, sources=("prc", "prc"), results=("cpr", "prc")
    )  # fmt: skip
    along_x = ColumnsFftWork(
        columns=Columns(length=n, bits=bits, filled=box), planes=frames, width=n, sources=("rpc", "pcr"), results=("rpc", "rpc")
    )  # fmt: skip
    scale = Scales().intensity(ForwardModel(config))
    intensity = _flat(
        (formulas.intensity(bits, scale),), n * frames * n, ("out real", "out imaginary"), ("psf",), bits
    )
    return [
        Part(name="phase", kind="product with the modes", work=phase, tensors={"left": "coefficients", "right": "modes", "fp16": "phase"}),
        *looked_up,
        Part(name="field", kind="complex", work=aperture, tensors=_named(in_="field")),
        Part(name="wave: along y", kind="transform", work=along_y, tensors=_planes("field", "wave half")),
        Part(name="wave: along x", kind="transform", work=along_x, tensors=_planes("wave half", "wave")),
        Part(name="psf", kind="complex", work=intensity, tensors=_named(out="wave")),
        *spectra_parts(config, setting, "psf", "transfer"),
    ]  # fmt: skip


def slope_parts(config: "DeconvolutionConfig", setting: Setting, unit: float = 1.0) -> list[Part]:
    """From waves and transfer functions back to the gradient; ``unit`` is what the slope by the phase is multiplied by to be INT8."""
    from lanewise.models.deconvolution import formulas
    from lanewise.models.deconvolution.scales import Scales

    n, box, frames, bits = config.pixels, config.box, config.frames, setting.transform_bits
    scales, operands = Scales(), setting.operand_bits
    slopes = _spectral(
        config,
        bits,
        formulas.object_of(frames, bits, scales.sigma(config), final=False),
        ("G real", "G imaginary"),
        frames,
    )
    weighted = _flat(
        (formulas.weighted_wave(bits, scales.slope),), n * frames * n, ("slope", "out real", "out imaginary"), ("in real", "in imaginary"), bits
    )  # fmt: skip
    along_x = ColumnsFftWork(
        columns=Columns(length=n, bits=bits, kept=box), planes=frames, width=n, sources=("rpc", "rpc"), results=("cpr", "rpc")
    )  # fmt: skip
    along_y = ColumnsFftWork(
        columns=Columns(length=n, bits=bits, kept=box), planes=frames, width=box, sources=("rpc", "cpr"), results=("prc", "prc")
    )  # fmt: skip
    names = ("in real", "in imaginary", "out real", "out imaginary")
    slope = RecipeWork(
        recipes=(formulas.phase_slope(bits, unit, integer=True),), groups=frames, width=box**2,
        inputs=tuple(Stream(name=name, bits=bits) for name in names), outputs=(Stream(name="phase slope", bits=8),),
    )  # fmt: skip
    gradient = MatmulWork(
        m=frames, k=box**2, n=config.modes, left_bits=operands, right_bits=operands, right_transposed=False
    )
    return [
        Part(name="slopes", kind="complex", work=slopes, tensors=_SPECTRAL | _named(G="slopes")),
        *image_parts(config, setting, "slopes", "by psf", frames),
        Part(name="weighted wave", kind="complex", work=weighted, tensors={"slope": "by psf"} | _named(out="wave", in_="weighted")),
        Part(name="back: along X", kind="transform", work=along_x, tensors=_planes("weighted", "back half")),
        Part(name="back: along Y", kind="transform", work=along_y, tensors=_planes("back half", "back")),
        Part(name="slope by the phase", kind="complex", work=slope, tensors=_named(in_="field", out="back")),
        Part(name="gradient", kind="product with the modes", work=gradient, tensors={"left": "phase slope", "right": "turned modes", "fp16": "gradient"}),
    ]  # fmt: skip


def final_parts(config: "DeconvolutionConfig", setting: Setting) -> list[Part]:
    """From transfer functions to the restored image, whose axes run backwards."""
    from lanewise.models.deconvolution import formulas
    from lanewise.models.deconvolution.scales import Scales

    recipes = formulas.object_of(config.frames, setting.transform_bits, Scales().sigma(config), final=True)
    restored = _spectral(config, setting.transform_bits, recipes, ("O real", "O imaginary"), 2)
    tensors = _SPECTRAL | _named(O="object")
    return [
        Part(name="object", kind="complex", work=restored, tensors=tensors),
        *image_parts(config, setting, "object", "restored", 2),
    ]


def network_tasks(config: "DeconvolutionConfig") -> tuple[Task, ...]:
    """A step's network and update, traced from PyTorch."""
    import torch

    from lanewise.models.deconvolution.network import UnrolledNetwork

    class Update(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unrolled = UnrolledNetwork(replace(config, steps=1))

        def forward(self, coefficients: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
            return self.unrolled.update(0, coefficients, gradient)

    inputs = torch.zeros(1, config.frames, config.modes)
    return tuple(replace(task, kind="network") for task in lower(trace(Update(), [inputs, inputs])).tasks)


def burst(config: "DeconvolutionConfig", setting: Setting, machine: MachineConfig) -> Simulation:
    """A burst from frames to the restored image, on a machine and its baseline.

    Raises:
        UserError: It does not fit the machine.
    """
    step = _tasks([*wave_parts(config, setting), *slope_parts(config, setting)])
    step += network_tasks(config)
    tasks = _tasks(spectra_parts(config, setting, "frames", "spectra")) + config.steps * step
    tasks += _tasks([*wave_parts(config, setting), *final_parts(config, setting)])
    return _simulated(tasks, machine, "deconvolution")


def single(parts: list[Part], machine: MachineConfig) -> Simulation:
    """Some parts alone."""
    return _simulated(_tasks(parts), machine, "deconvolution")


def network(config: "DeconvolutionConfig", machine: MachineConfig) -> Simulation:
    """A step's network and update alone."""
    return _simulated(list(network_tasks(config)), machine, "deconvolution network")


def plain_transform(pixels: int, frames: int, bits: int) -> list[Part]:
    """Complex transforms of whole planes in both directions."""
    columns = Columns(length=pixels, bits=bits)
    there = ColumnsFftWork(columns=columns, planes=frames, width=pixels, results=("cpr", "prc"))
    back = ColumnsFftWork(
        columns=columns, planes=frames, width=pixels, sources=("rpc", "pcr"), results=("rpc", "rpc")
    )
    return [
        Part(name=name, kind="transform", work=work)
        for name, work in (("one axis", there), ("the other", back))
    ]


def row_transform(pixels: int, frames: int) -> list[Part]:
    """The same by :class:`~lanewise.mapping.kernels.fft.FftWork`, which knows rows alone; turning the planes in between is not even counted."""
    work = FftWork(batch=frames * pixels, length=pixels)
    return [Part(name=name, kind="transform", work=work) for name in ("one axis", "the other")]


_SPECTRAL = _named(S="transfer", I="spectra")


def _spectral(
    config: "DeconvolutionConfig", bits: int, recipes: tuple[Any, ...], outputs: tuple[str, ...], rows: int
) -> RecipeWork:
    names = ("S real", "S imaginary", "I real", "I imaginary")
    return RecipeWork(
        recipes=recipes, groups=config.pixels, width=config.pixels // 2 + 1,
        inputs=(*(Stream(name=name, rows=config.frames, bits=bits) for name in names), Stream(name="mask", bits=bits)),
        outputs=tuple(Stream(name=name, rows=rows, bits=bits) for name in outputs),
    )  # fmt: skip


def _flat(
    recipes: tuple[Any, ...], elements: int, inputs: tuple[str, ...], outputs: tuple[str, ...], bits: int
) -> RecipeWork:
    width = gcd(elements, CHUNK)
    return RecipeWork(
        recipes=recipes, groups=elements // width, width=width, inputs=tuple(Stream(name=name, bits=bits) for name in inputs),
        outputs=tuple(Stream(name=name, bits=bits) for name in outputs),
    )  # fmt: skip


def _tasks(parts: list[Part]) -> list[Task]:
    return [
        Task(name=part.name, kind=part.kind, members=(part.name,), functions=(), work=cast("Work", part.work)) for part in parts
    ]  # fmt: skip


def _simulated(tasks: list[Task], machine: MachineConfig, model: str) -> Simulation:
    return simulate_lowered(Lowered(tasks=tuple(tasks), unmapped=()), machine, model=model)
