"""The chain's works executed one after another on values: the gradient's slope and the image, bit by bit those of the golden model."""

import numpy as np
import pytest
import torch

from lanewise.config import MachineConfig
from lanewise.mapping.functional import execute_program, table_tensor
from lanewise.mapping.kernels.fft_columns import ColumnsFftWork
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.workloads.deconvolution import (
    Part,
    Setting,
    final_parts,
    network_tasks,
    slope_parts,
    spectra_parts,
    wave_parts,
)
from lanewise.models.deconvolution.bursts import bursts
from lanewise.models.deconvolution.config import PAPER, DeconvolutionConfig
from lanewise.models.deconvolution.forward import ForwardModel
from lanewise.models.deconvolution.hardware import Arithmetic, HardwareModel
from lanewise.models.reduction_tables import reduction_table
from lanewise.sim.program import flatten_once

MACHINE = MachineConfig()
TINY = DeconvolutionConfig(pixels=16, frames=4, modes=6, steps=1, pupil=7.5, strength=3.0)
TYPES = {8: np.int8, 16: np.float16, 32: np.float32}


def execute(parts: list[Part], memory: dict[str, np.ndarray], bits: int) -> None:
    """Everything but the matrix products."""
    for part in parts:
        if isinstance(part.work, MatmulWork):
            continue
        program = part.work.program(MACHINE)
        local = {}
        names = dict.fromkeys(i.external.base for i in flatten_once(program.body) if i.external is not None)
        for name in names:
            tensor = part.tensors.get(name, name)
            if tensor not in memory:
                kind = {"phase slope": np.int8, "cos": np.float16, "sin": np.float16}.get(tensor, TYPES[bits])
                memory[tensor] = np.zeros(size_of(part, name), kind)
            local[name] = memory[tensor]
        execute_program(program, MACHINE, local)


def size_of(part: Part, name: str) -> int:
    """Elements of a work's result."""
    work = part.work
    if isinstance(work, ColumnsFftWork):
        paired = work.columns.split or work.columns.join
        return work.planes * (1 + paired) * work.columns.results[0][1] * work.width
    stream = next((s for s in getattr(work, "outputs", ()) if getattr(s, "name", s) == name), None)
    if stream is None or isinstance(stream, str):
        return work.elements
    return work.groups * stream.rows * work.width


@pytest.mark.parametrize("bits", [32, pytest.param(16, marks=pytest.mark.full)])
def test_chain_is_the_golden_models(bits):
    data, model = bursts(TINY, 1, 4), ForwardModel(TINY)
    hardware = HardwareModel(TINY, Arithmetic(transform_bits=bits, segments=MACHINE.flex_sfu.segments))
    torch.manual_seed(4)
    coefficients = 0.4 * torch.randn(1, TINY.frames, TINY.modes)
    values = coefficients.double().numpy()
    peak = float(model.phase_slope(coefficients, data.spectra).abs().max())
    unit = 127 / peak * hardware.scales.phase_slope(model)
    scaled = (data.frames.numpy() * hardware.scales.frames).astype(TYPES[bits])
    half = TINY.pixels // 2 + 1
    memory = {
        "frames": np.ascontiguousarray(scaled[0].transpose(2, 0, 1)),
        "phase": np.ascontiguousarray(hardware.phase(values)[:, 0]),
        "aperture": hardware.aperture, "mask": np.ascontiguousarray(hardware.mask[:, 0, :half]),
    }  # fmt: skip
    for function in ("sin", "cos"):
        memory[f"table reduced {function}"] = table_tensor(
            MACHINE.flex_sfu, reduction_table("sin", segments=32)
        )
    setting = Setting(transform_bits=bits)
    parts = [*spectra_parts(TINY, setting, "frames", "spectra"), *wave_parts(TINY, setting)]
    execute([*parts, *slope_parts(TINY, setting, unit), *final_parts(TINY, setting)], memory, bits)
    spectra = hardware.spectra(data.frames)
    golden = hardware.slope(values, spectra, 127 / peak)[:, 0]
    assert np.abs(golden).max() > 100
    assert np.array_equal(memory["phase slope"].reshape(golden.shape), golden)
    image = memory["restored"].reshape(TINY.pixels, 2, TINY.pixels)[:, 0].astype(np.float64)
    image = np.roll(image[::-1, ::-1], 1, (0, 1)).T
    factor = hardware.scales.transfer / hardware.scales.spectra / TINY.pixels**2
    assert np.array_equal(image * factor, hardware.restored(values, spectra)[0])
    exact = model.estimate(coefficients, data.spectra)
    assert np.abs(image * factor - exact.object[0].numpy()).max() < 0.1 * float(exact.object.abs().max())


@pytest.mark.parametrize(
    ("operand_bits", "transform_bits", "bound"), [(0, 32, 1e-3), (0, 16, 5e-3), (8, 32, 0.15)]
)
def test_error_of_the_hardwares_gradient(operand_bits, transform_bits, bound):
    data, model = bursts(TINY, 2, 1), ForwardModel(TINY)
    torch.manual_seed(1)
    coefficients = 0.3 * torch.randn(2, TINY.frames, TINY.modes)
    exact = model.estimate(coefficients, data.spectra).gradient.double().numpy()
    peak = float(model.phase_slope(coefficients, data.spectra).abs().max())
    hardware = HardwareModel(TINY, Arithmetic(operand_bits=operand_bits, transform_bits=transform_bits))
    made = hardware.gradient(coefficients.double().numpy(), hardware.spectra(data.frames), peak)
    error = np.linalg.norm(made - exact) / np.linalg.norm(exact)
    print(operand_bits, transform_bits, error)
    assert error < bound


def test_a_steps_network_is_mapped():
    tasks = network_tasks(PAPER)
    products = [task.work for task in tasks if isinstance(task.work, MatmulWork)]
    assert [work.n for work in products] == [88, 88, 88, 44]
    assert sum(work.macs for work in products) == 12 * 3 * 88 * (3 * 88 + 44)
    assert [work.steps[0].function for work in products[:3]] == ["gelu"] * 3
