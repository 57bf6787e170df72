"""Works over windows are timed without places and chosen by bounds: neither changes a clock."""

from dataclasses import replace
from random import Random

import pytest

from lanewise.config import MachineConfig
from lanewise.mapping.kernels import window_code, windows
from lanewise.mapping.kernels.epilogue import Step
from lanewise.mapping.kernels.price import price
from lanewise.mapping.kernels.window_axes import Axis
from lanewise.mapping.kernels.window_bands import WindowBands
from lanewise.mapping.kernels.windows import WindowsWork
from lanewise.sim.program import Program, flatten_once, replaced

SEED = 1128
STEPS = ((), (Step(function="silu"),), (Step(function="add", operand="tensor"), Step(function="relu")))
OUTPUTS = (("fp16",), ("quantised",), ("fp16", "quantised"))


def some_work(rng: Random) -> WindowsWork:
    kernel, stride = rng.choice([(1, 1), (2, 2), (3, 1), (3, 2), (5, 1)]), rng.choice([1, 2])
    axis = Axis(
        size=rng.randint(kernel[0] + 2, 15), kernel=kernel[0], stride=kernel[1], padding=kernel[0] // 2
    )
    other = replace(axis, size=rng.randint(kernel[0] + 2, 15), stride=stride)
    return WindowsWork(
        function=rng.choice(windows.FUNCTIONS), axes=(axis, other), channels=rng.choice([2, 24, 40, 96, 200]),
        steps=rng.choice(STEPS), outputs=rng.choice(OUTPUTS),
    )  # fmt: skip


def without_places(program: Program) -> list[object]:
    return [i if i.external is not None else replaced(i, address=None) for i in flatten_once(program.body)]


@pytest.mark.parametrize("config", [MachineConfig(), MachineConfig().baseline()], ids=["machine", "baseline"])
def test_bounds_and_timed_programs(config):
    rng = Random(SEED)
    print(f"seed {SEED}")
    for _ in range(5):
        work = some_work(rng)
        program, timed = work.program(config), work.timed(config)
        assert without_places(program) == without_places(timed)
        assert program.buffers_bytes == timed.buffers_bytes
        assert price(program, config) == price(timed, config)
        alone = replace(work, steps=(), outputs=("middle",))
        for bands in (
            WindowBands(work, config),
            *([WindowBands(alone, config, after=work)] if work.steps else []),
        ):
            try:
                clocks = price(bands.program(places=False), config).cycles
            except ValueError:
                continue
            assert 0 < bands.least_clk() <= clocks, work
            assert price(timed, config).cycles <= 1.05 * clocks, work


def test_programs_do_not_depend_on_what_was_written_before():
    rng, config = Random(SEED + 1), MachineConfig()
    works = [some_work(rng) for _ in range(5)]
    window_code.strip_code.cache_clear()
    warm = [work.program(config) for work in (*works, *works)][len(works) :]
    for work, program in zip(works, warm):
        window_code.strip_code.cache_clear()
        assert work.program(config) == program


def test_registers_that_are_short_are_known_before(monkeypatch):
    """Whatever is skipped would have failed."""
    tried = window_code.StripCode._windows
    works = [
        WindowsWork(function="depthwise", axes=(Axis(size=12, kernel=k, stride=s, padding=1),) * 2, channels=c, steps=STEPS[1])
        for k, s, c in ((3, 1, 128), (3, 2, 48), (5, 1, 96), (2, 1, 128))
    ]  # fmt: skip
    skipped: list[bool] = []
    short = window_code.StripCode._short

    def watched(self, used, these, held):
        found = short(self, used, these, held)
        if found:
            self.patience = (held, 1)
            kernel = self.kernel
            kernel.used, kernel.written, kernel.splats, kernel.setup = set(used), set(), {}, []
            self.held, kernel.code, kernel.way = [], [], 0
            with pytest.raises(ValueError, match="registers free"):
                tried(self, *these)
            skipped.append(True)
        return found

    monkeypatch.setattr(window_code.StripCode, "_short", watched)
    window_code.strip_code.cache_clear()
    for work in works:
        work.timed(MachineConfig())
    assert skipped
    window_code.strip_code.cache_clear()
