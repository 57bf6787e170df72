"""CPU seconds of `lanewise simulate` from a warm trace, the whole process, imports included; several runs of each model.

Usage: python benchmarks/simulate.py [MODEL...]
"""

import resource
import subprocess
import sys

RUNS = 5


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


for model in sys.argv[1:] or ["timm:resnet50", "hf:bert", "hf:minilm", "timm:vit_small_patch16_224"]:
    command = [sys.executable, "-m", "lanewise.cli", "simulate", model, "--json"]
    cpu_seconds(command)  # the trace
    times = sorted(cpu_seconds(command) for _ in range(RUNS))
    print(f"{model:32} min {times[0]:.2f} s  median {times[RUNS // 2]:.2f} s  max {times[-1]:.2f} s")
