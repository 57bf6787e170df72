"""CPU milliseconds to price a unique work, by class: its Programs written, tried and run on the timing engine, on the machine and on its baseline.

Usage: python benchmarks/pricing.py [MODEL...]
"""

import sys
import time
from collections import defaultdict

from lanewise.config import MachineConfig
from lanewise.mapping.lower import lower
from lanewise.mapping.simulate import work_cost
from lanewise.mapping.trace import trace_model

MODELS = [
    "timm:mobilenetv3_large_100", "timm:resnet50", "timm:efficientnet_b0", "timm:convnext_tiny", "timm:vit_small_patch16_224",
    "timm:swin_tiny_patch4_window7_224", "hf:bert",
]  # fmt: skip
MACHINE = MachineConfig()
BASELINE = MACHINE.baseline()


def milliseconds(work: object) -> float:
    """Of processor time; the baseline alone where the work uses Flex-SFU, as in a simulation."""
    start = time.process_time()
    if work_cost(work, MACHINE).busy_clk["flex_sfu"]:
        work_cost(work, BASELINE)
    return 1e3 * (time.process_time() - start)


works: dict[object, None] = {}
for model in sys.argv[1:] or MODELS:
    works |= dict.fromkeys(task.work for task in lower(trace_model(model), allow_unmapped=True).tasks)
times: dict[str, list[float]] = defaultdict(list)
for work in works:
    times[type(work).__name__].append(milliseconds(work))
everything = [each for group in times.values() for each in group]
print(f"{'class':20} {'works':>6} {'ms a work':>10} {'median':>8} {'most':>8} {'seconds':>8}")
for name, group in [*sorted(times.items()), ("all", everything)]:
    middle = sorted(group)[len(group) // 2]
    print(
        f"{name:20} {len(group):6} {sum(group) / len(group):10.2f} {middle:8.2f} {max(group):8.2f} {sum(group) / 1e3:8.2f}"
    )
