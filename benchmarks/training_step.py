"""What INT4 training costs in clocks: products, linear layers forward and backward, whole steps; beside FP16 arrays.

``python benchmarks/training_step.py`` prints the tables; with ``--write docs/training_step.md`` they go between the page's markers.
"""

import argparse
import sys
from pathlib import Path

import torch

from lanewise.config import MachineConfig
from lanewise.files import cache_folder, write_part
from lanewise.mapping.graph import Graph
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.networks_shared import empty_weights
from lanewise.mapping.simulate import work_cost
from lanewise.mapping.trace import trace, trace_model
from lanewise.mapping.training.linear import (
    Linear,
    Part,
    block_of,
    fp16_backward,
    fp16_forward,
    int4_backward,
    int4_forward,
)
from lanewise.mapping.training.lower import TrainingOptions, pass_clk
from lanewise.mapping.training.machines import fp16_machines
from lanewise.mapping.training.simulate import TrainingSimulation, simulate_training
from lanewise.synth import Fp16Comparison, equal_area_fp16, synthesise
from lanewise.synth.matrix_side import MATRIX_PARTS
from lanewise.torchvision import make_importable

ROWS = 4096
"""Rows of a linear layer's input: 8 sequences of 512."""
LAYERS = {"1024 to 1024": (1024, 1024), "1024 to 4096": (1024, 4096), "4096 to 1024": (4096, 1024)}
"""BERT-large's linear layers: inputs and outputs."""
TARGETS = {"operator": 2.2, "step": 1.351}
"""The paper's figures."""


def products(config: MachineConfig) -> str:
    """How busy the INT4 array is, by the timing engine."""
    works = {
        "4096 x 4096 x 4096": MatmulWork(m=4096, k=4096, n=4096),
        "BERT-base, 512 tokens: projection 768 to 768": MatmulWork(m=512, k=768, n=768),
        "BERT-base, 512 tokens: 768 to 3072": MatmulWork(m=512, k=768, n=3072),
        "BERT-base, 512 tokens: 3072 to 768": MatmulWork(m=512, k=3072, n=768),
    }
    lines = ["| product, INT4 in, FP16 out | clocks | of peak |", "|---|---:|---:|"]
    for name, work in works.items():
        clocks = work_cost(work, config).cycles
        lines.append(f"| {name} | {clocks:,} | {work.macs / config.matrix.macs_per_clk / clocks:.1%} |")
    return "\n".join(lines)


def areas(config: MachineConfig, found: Fp16Comparison) -> str:
    """What is compared with what."""
    side = synthesise(config, cache=cache_folder())
    lines = ["| part | um2 |", "|---|---:|"]
    own = {name: part for name, part in side.parts.items() if name in MATRIX_PARTS}
    lines += [f"| INT4: `{name}` | {part.area_um2:,.0f} |" for name, part in own.items()]
    lines.append(f"| INT4 in all | {side.matrix_side_um2:,.0f} |")
    for name, matrix, area in (
        ("equal rows x columns", found.same_shape, found.same_shape_area_um2),
        ("equal area", found.equal_area, found.equal_area_area_um2),
    ):
        lines.append(f"| FP16 array of {name}, {matrix.rows} x {matrix.columns} | {area:,.0f} |")
    return "\n".join(lines)


def operators(config: MachineConfig, others: dict[str, MachineConfig]) -> tuple[str, float]:
    """Linear layers, forward and backward; and the least speedup at equal area."""
    options = TrainingOptions()
    heads = ["layer", "pass", "INT4, clocks", "of it not products"]
    heads += [f"{name}, clocks | speedup" for name in others]
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (2 + 2 * len(others))]
    least = float("inf")
    for name, (inputs, outputs) in LAYERS.items():
        layer = Linear(rows=ROWS, inputs=inputs, outputs=outputs)
        block = block_of(inputs, options.block, config.matrix.columns)
        backward = int4_backward(layer, block, options.sampling, pass_clk=pass_clk(config))
        passes = (
            ("forward", int4_forward(layer, block), fp16_forward(layer)),
            ("backward", backward, fp16_backward(layer, inputs=True)),
        )
        for which, own, other in passes:
            clocks, rest = _clocks(own, config), _clocks([p for p in own if p[0] != "product"], config)
            cells = [name, which, f"{clocks:,}", f"{rest / clocks:.1%}"]
            for machine in others.values():
                theirs = _clocks(other, machine)
                cells += [f"{theirs:,}", f"{theirs / clocks:.2f}x"]
            least = min(least, theirs / clocks)
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines), least


def steps(simulations: list[TrainingSimulation]) -> str:
    """Whole training steps."""
    names = list(simulations[0].others)
    heads = ["network", "parameters, M", "GMAC", "INT4, clocks", *names]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for item in simulations:
        cells = [
            item.model, f"{item.parameters / 1e6:.1f}", f"{item.macs / 1e9:,.0f}", f"{item.machine.cycles:,}"
        ]  # fmt: skip
        cells += [f"{item.speedup(name):.3f}x" for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shares(simulations: list[TrainingSimulation]) -> str:
    """Where the INT4 step's clocks go."""
    parts = ("product", "quantise", "sample", "turn back", "bias", "rest")
    lines = [f"| share of the INT4 step | {' | '.join(parts)} |", "|---|" + "---:|" * len(parts)]
    for item in simulations:
        by = item.machine.cycles_by("part")
        cells = [f"{by.get(part, 0) / item.machine.cycles:.1%}" for part in parts]
        lines.append(f"| {item.model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def verdicts(least: float, simulations: list[TrainingSimulation]) -> str:
    """The targets."""
    values = [("A linear layer's pass, the least of the table", least, TARGETS["operator"])]
    values += [
        (f"A step of {item.model}", item.speedup("FP16 array of equal area"), TARGETS["step"])
        for item in simulations
    ]
    lines = ["At equal area, against the paper's figures:", ""]
    for name, value, target in values:
        lines.append(f"- {name}: {value:.3f}x; {target:g}x is {'met' if value >= target else 'missed'}.")
    return "\n".join(lines)


def bert_large() -> Graph:
    """BERT-large: 24 layers, 1024 wide, 16 heads; 8 sequences of 512 tokens."""
    make_importable()
    from transformers import BertConfig, BertModel

    config = BertConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
    )
    with empty_weights():
        network = BertModel(config)
        tokens = torch.zeros(8, 512, dtype=torch.long)
        return trace(network, {"input_ids": tokens}, model="BERT-large, 8 x 512")


def graphs() -> list[Graph]:
    """The networks of the page."""
    return [
        bert_large(),
        trace_model("timm:vit_large_patch16_224", batch=16),
        trace_model("hf:bert", batch=8, sequence=512),
        trace_model("timm:vit_small_patch16_224", batch=16),
    ]


def _clocks(parts: list[Part], config: MachineConfig) -> int:
    return sum(work_cost(work, config).cycles for _, work in parts)


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()

    def progress(line: str) -> None:
        print(line, file=sys.stderr)

    config = MachineConfig()
    found = equal_area_fp16(config, cache=cache_folder(), progress=progress)
    others = fp16_machines(config, found.equal_area)
    simulations = [simulate_training(graph, config, others, progress=progress) for graph in graphs()]
    table, least = operators(config, others)
    parts = {
        "products": products(config), "areas": areas(config, found), "operators": table, "steps": steps(simulations),
        "shares": shares(simulations), "verdicts": verdicts(least, simulations),
    }  # fmt: skip
    for name, text in parts.items():
        if arguments.write is None:
            print(f"{text}\n")
        else:
            write_part(arguments.write, name, text, by="benchmarks/training_step.py")


if __name__ == "__main__":
    main()
