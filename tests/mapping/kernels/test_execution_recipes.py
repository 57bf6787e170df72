"""Recipes executed from external memory to external memory: the golden evaluation's bits."""

import numpy as np
import pytest

from lanewise.config import DmaConfig, FlexSfuConfig, MachineConfig
from lanewise.mapping.functional import execute_program
from lanewise.mapping.kernels.recipe_work import RecipeWork, Stream
from lanewise.models.recipe import KINDS, Recipe, evaluate
from lanewise.sim.program import priced_only
from lanewise.verify.benches.core import small_machine
from lanewise.verify.core_kernels import every_operation

MACHINES = [MachineConfig(), small_machine(2, 128, FlexSfuConfig(lanes=2, segments=8), DmaConfig())]
TYPES = {8: np.int8, 16: np.float16, 32: np.float32}


@pytest.mark.parametrize("machine", MACHINES, ids=["8x1024", "2x128"])
@pytest.mark.parametrize("bits", [16, 32])
def test_bits_of_every_operation(bits, machine, check_stream):
    work = every_operation(bits)
    rng = np.random.default_rng(bits)
    memory = {}
    for stream in work.inputs:
        groups = 1 if stream.shared else work.groups
        values = rng.normal(0, 2, (groups, stream.rows, work.width)).astype(TYPES[stream.bits])
        chosen = rng.random(values.shape) < 0.05
        special = np.array([0, -0.0, np.inf, np.nan, 65504, 1e-6], values.dtype)
        values[chosen] = rng.choice(special, int(chosen.sum()))
        memory[stream.name] = values
    out = {s.name: np.zeros((work.groups, s.rows, work.width), TYPES[s.bits]) for s in work.outputs}
    program = work.program(machine)
    assert priced_only(program) == ()
    check_stream(program, machine)
    execute_program(program, machine, memory | out)
    wanted = {name: x.copy() for name, x in out.items()}
    shape = (work.groups, work.width)

    def store(place, value):
        wanted[place.buffer][:, place.row] = value

    for recipe in work.recipes:
        assert recipe.bits in KINDS
        evaluate(
            recipe, lambda place: np.broadcast_to(memory[place.buffer][:, place.row], shape).copy(), store
        )
    for name, x in out.items():
        assert x.any()
        assert x.tobytes() == wanted[name].tobytes(), name


def test_reciprocal():
    for bits, bound in ((16, 2e-3), (32, 2e-7)):
        recipe = Recipe(bits)
        recipe.store(recipe.reciprocal(recipe.load("x")), "y")
        x = np.random.default_rng(0).uniform(0.01, 900, 4000).astype(KINDS[bits])
        made = []
        evaluate(recipe, lambda _, x=x: x, lambda _, value, made=made: made.append(value))
        assert np.abs(made[0].astype(float) * x - 1).max() < bound


def test_what_is_refused():
    recipe = Recipe()
    recipe.store(recipe.load("x"), "y")
    with pytest.raises(ValueError, match="buffer must be one of y, not 'x'"):
        RecipeWork(recipes=(recipe,), groups=1, width=8, inputs=(), outputs=(Stream(name="y"),))
