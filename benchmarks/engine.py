"""Speed of the timing engine on one core: simulated instructions a second, every instruction executed, and what a network takes.

Usage: python benchmarks/engine.py [MODEL...]
"""

import sys
import time
from collections.abc import Callable

from lanewise.config import MachineConfig
from lanewise.mapping import simulate as simulator
from lanewise.mapping.kernels.elementwise import ElementwiseWork
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.rows import RowsWork
from lanewise.mapping.trace import trace_model
from lanewise.sim.encode import encode
from lanewise.sim.engine import Engine
from lanewise.sim.reference import Reference
from lanewise.sim.vector_type import with_vector_types

MACHINE = MachineConfig()
WORKS = {
    "matmul, quantised": MatmulWork(m=4096, k=512, n=4096, outputs=("fp16", "quantised")),
    "gelu in software": ElementwiseWork(elements=1 << 24, steps=(Step(function="gelu"),)),
    "softmax, split": RowsWork(function="softmax", rows=1 << 15, length=128),
    "layer norm": RowsWork(function="layer_norm", rows=1 << 15, length=768, affine=True),
}


def seconds(action: Callable[[], object]) -> float:
    """Of processor time, the least of three."""
    times = []
    for _ in range(3):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def print_speed(name: str) -> None:
    """A work's instructions a second: executed, executed and told of, and the time with loops summarised."""
    config = MACHINE.baseline() if "software" in name else MACHINE
    program = with_vector_types(WORKS[name].program(config), config)
    engine = Engine(program, config, summarise=False)
    executed = engine.run().instructions
    unrolled = seconds(engine.run)
    recorded = seconds(Engine(program, config, summarise=False, recorder=lambda _: True).run)
    summarised, encoding = seconds(Engine(program, config).run), seconds(lambda: encode(program, config))
    print(
        f"{name:24} {executed:14,} {executed / unrolled / 1e6:10.1f} {executed / recorded / 1e6:10.1f} "
        f"{1e3 * summarised:13.2f} ms {1e3 * encoding:7.2f} ms"
    )


def print_network(model: str) -> None:
    """A network's time from its graph to its cycles, kernels chosen anew."""
    graph = trace_model(model)

    def again() -> None:
        simulator.forget()
        simulator.simulate(graph, MACHINE)

    print(f"{model}: {seconds(again):.2f} s of simulation, machine and baseline")


print(
    f"{'work':24} {'instructions':>14} {'million/s':>10} {'recorded':>10} {'with summaries':>16} {'encoding':>10}"
)
for work in WORKS:
    print_speed(work)
plain = MatmulWork(m=512, k=512, n=512, outputs=("fp16", "quantised"))
body = with_vector_types(plain.program(MACHINE), MACHINE)
rate = Engine(body, MACHINE).run().instructions / seconds(lambda: Reference(body, MACHINE))
print(f"the recurrence in Python: {rate / 1e6:.3f} million/s")
for model in sys.argv[1:] or ["timm:resnet50", "hf:bert"]:
    print_network(model)
