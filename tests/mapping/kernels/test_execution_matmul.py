"""Matrix products executed from external memory to external memory: every layout, every width, every end of a tile."""

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest

from lanewise.config import MachineConfig, MatrixConfig, ScratchpadConfig
from lanewise.mapping.functional import execute_program, table_tensor
from lanewise.mapping.kernels import matmul_nest
from lanewise.mapping.kernels.builder import TABLE, VectorKernel
from lanewise.mapping.kernels.epilogue import Step, emit_steps
from lanewise.mapping.kernels.execute import execute_kernel
from lanewise.mapping.kernels.matmul import MatmulWork
from lanewise.mapping.kernels.matmul_nest import Nest
from lanewise.models.fit import fit
from lanewise.models.flex_sfu import SfuTable
from lanewise.models.matrix_layout import column_constants, packed_lines
from lanewise.models.matrix_unit import matrix_tile
from lanewise.sim.alignment import with_alignment
from lanewise.sim.program import Address, Instruction, Loop, Node, Program, flatten_once, priced_only
from lanewise.verify import tag_counts
from lanewise.verify.host import Host

SEED = 25
NOISE = 0xA5
"""What memory holds where nothing was stored."""


def machine(rows: int, columns: int, lanes: int, size_kib: int = 64, banks: int = 64) -> MachineConfig:
    return dataclasses.replace(
        MachineConfig(),
        matrix=MatrixConfig(rows=rows, columns=columns, output_lanes=lanes),
        scratchpad=ScratchpadConfig(size_kib=size_kib, banks=banks),
    )


DEFAULT = MachineConfig()
SMALL, ODD, WIDE = machine(4, 4, 2), machine(3, 5, 2), machine(2, 6, 4)
MACHINES = {"4x4by2": SMALL, "3x5by2": ODD, "2x6by4": WIDE, "default": DEFAULT}


@cache
def gelu_table() -> SfuTable:
    return fit("gelu", segments=32).table()


@dataclasses.dataclass
class Memory:
    """Lines in external memory, each where its number says; all else is noise."""

    pitch: int
    step: int

    def place(self, product: int, line: int) -> int:
        return product * self.step + line * self.pitch

    def filled(self, rng: np.random.Generator | None, packed: np.ndarray) -> np.ndarray:
        """``packed``, shape ``(batch, lines, bytes)``."""
        batch, lines, size = packed.shape
        end = self.place(batch - 1, lines - 1) + size
        data = np.full(end, NOISE, np.uint8) if rng is None else rng.integers(0, 256, end, np.uint8)
        for product in range(batch):
            for line in range(lines):
                at = self.place(product, line)
                data[at : at + size] = packed[product, line]
        return data


def lines_in_memory(lines: int, length: int, bits: int, pitch: int, step: int) -> Memory:
    distance = -(-(pitch or length) * bits // 8)
    return Memory(distance, step * bits // 8 or lines * distance)


def packed(values: np.ndarray, bits: int) -> np.ndarray:
    if bits == 16:
        return np.ascontiguousarray(values).view(np.uint8)
    return packed_lines(values, bits)


def operand(rng, values, bits, transposed, pitch, step) -> np.ndarray:
    """Values of shape ``(batch, lines, k)`` in memory; the upper half of an odd line's last byte is noise."""
    stored = values.swapaxes(1, 2) if transposed else values
    memory = lines_in_memory(stored.shape[1], stored.shape[2], bits, pitch, step)
    if bits == 4 and stored.shape[2] % 2:
        stored = np.concatenate([stored, rng.integers(-8, 8, (*stored.shape[:2], 1))], 2)
    return memory.filled(rng, packed(stored, bits))


class Product:
    """A work's random operands and what its results must be."""

    def __init__(self, work: MatmulWork, config: MachineConfig, seed: int) -> None:
        self.rng = rng = np.random.default_rng([SEED, seed])
        bits = [b or 4 for b in (work.left_bits, work.right_bits)]
        shape = (work.batch, work.m, work.n)
        halves = [1 << (b - 1) for b in bits]
        left = rng.integers(-halves[0], halves[0], (work.batch, work.m, work.k))
        right = rng.integers(-halves[1], halves[1], (work.batch, work.n, work.k))
        level = int(np.log2(np.sqrt(work.k) * halves[0] * halves[1] / 3))
        self.work = work = dataclasses.replace(work, multiplier=3, shift=min(63, max(0, level + 13)))
        self.config = config
        self.tensors = {
            "left": operand(rng, left, bits[0], work.left_transposed, work.left_pitch, work.left_step),
            "right": operand(rng, right, bits[1], work.right_transposed, work.right_pitch, work.right_step),
        }
        rows, columns = work.batch * work.m, (work.batch, work.n)
        bias, multiplier = np.zeros(columns, int), np.ones(columns, int)
        if work.weights:
            bias, multiplier = (
                rng.integers(-(1 << level), 1 << level, columns),
                rng.integers(0, 1 << 14, columns),
            )
        else:
            self.work = work = dataclasses.replace(work, multiplier=12345)
        tile = work.tile_shape(config)[1]
        constants = [column_constants(b, c, config.matrix, tile) for b, c in zip(bias, multiplier)]
        self.tensors["constants"] = np.stack(constants) if work.weights else constants[0][:1].copy()
        scales = np.full((2, work.batch, work.m), [[[work.multiplier]], [[work.shift]]])
        self.numbers = np.arange(rows).reshape(work.batch, work.m) % work.m
        if work.row_scales:
            scales = scales + rng.integers(0, 2, scales.shape)
            self.numbers = np.stack([rng.permutation(work.m) for _ in range(work.batch)])
            high = rng.integers(0, 1 << 10, scales.shape[1:]) << 22
            self.tensors["scales"] = (scales[0] | scales[1] << 16 | high).astype("<u4")
            self.tensors["rows"] = self.numbers.astype("<u4")
        self.direct = not work.steps and len(work.outputs) == 1
        form = "int4" if self.direct and work.outputs == ("quantised",) else "fp16"
        self.values = np.empty(shape, np.int8 if form == "int4" else np.uint16)
        for product in range(work.batch):
            self.values[product] = matrix_tile(
                left[product], right[product].T, a_bits=bits[0], w_bits=bits[1], bias=bias[product],
                column_multiplier=multiplier[product], row_multiplier=scales[0, product], shift=scales[1, product], form=form,
            )  # fmt: skip
        if not self.direct:
            self.values = self.stepped(self.values.view(np.float16))

    def results(self, form: str) -> Memory:
        work, bits = self.work, 4 if form == "quantised" else 16
        return lines_in_memory(work.m, work.n, bits, work.result_pitch, work.result_step)

    def stepped(self, values: np.ndarray) -> np.ndarray:
        """The steps by ``models.vector``, which knows no tiles, no strips and no memory."""
        kernel = VectorKernel(config=self.config, vl=64)
        source, registers, operands = kernel.allocate(), {}, {}
        registers[source.names[0]] = values.reshape(-1)
        for index, step in enumerate(self.work.steps):
            if step.operand not in ("tensor", "channel"):
                continue
            operands[index] = kernel.allocate()
            shape = values.shape if step.operand == "tensor" else (values.shape[0], values.shape[2])
            other = self.rng.normal(1, 1, shape).astype(np.float16)
            if step.operand == "channel":
                self.tensors[f"channel{index}"] = other
                other = np.broadcast_to(other[:, None], values.shape)
            else:
                rows = np.empty_like(other)
                for product, numbers in enumerate(self.numbers):
                    rows[product, numbers] = other[product]
                self.tensors[f"operand{index}"] = self.results("fp16").filled(self.rng, packed(rows, 16))
            registers[operands[index].names[0]] = other.reshape(-1)
        result = emit_steps(kernel, source, self.work.steps, operands)
        state = execute_kernel(kernel, registers, values.size, tables={"gelu": gelu_table()})
        return state[result.names[0]].view(np.float16).reshape(values.shape)

    def expected(self, form: str) -> np.ndarray:
        """Shape ``(batch, m, n)``, rows where they are stored."""
        values = self.values
        if form == "quantised" and not self.direct:
            with np.errstate(over="ignore"):
                scaled = values * np.float16(self.work.inverse_step)
            values = np.clip(np.rint(scaled.astype(float)), -8, 7).astype(int)
        stored = np.empty_like(values)
        for product, numbers in enumerate(self.numbers):
            stored[product, numbers] = values[product]
        return stored

    def check(self, program: Program | None = None) -> Program:
        work, config = self.work, self.config
        program = program or work.program(config)
        assert priced_only(program) == ()
        memory = dict(self.tensors)
        wanted = {}
        for form in work.outputs:
            bits = 4 if form == "quantised" else 16
            wanted[form] = self.results(form).filled(None, packed(self.expected(form), bits))
            memory[form] = np.full_like(wanted[form], NOISE)
        for i in flatten_once(program.body):
            if i.external is not None and i.external.base.startswith(TABLE):
                memory[i.external.base] = table_tensor(config.flex_sfu, gelu_table())
        execute_program(program, config, memory)
        for form, data in wanted.items():
            if form == "quantised" and work.n % 2:  # what is beyond an odd row is not told
                for product in range(work.batch):
                    for row in range(work.m):
                        at = self.results(form).place(product, row) + work.n // 2
                        assert at < data.size
                        memory[form][at] &= 15
                        data[at] &= 15
            different = np.flatnonzero(memory[form] != data)
            assert not different.size, (
                f"{form}: {different.size} bytes of {data.size}, the first {different[0]}; {work}; seed {SEED}"
            )
        return program


def opcodes(program: Program) -> set[str]:
    return {i.opcode for i in flatten_once(program.body)}


def loads_of(body: Sequence[Node], tensor: str) -> int:
    """How often a tensor's transfers run."""
    total = 0
    for node in body:
        if isinstance(node, Loop):
            total += node.count * loads_of(node.body, tensor)
        elif isinstance(node, Instruction) and node.external is not None:
            total += node.external.base == tensor
    return total


def drawn(rng: np.random.Generator, most: int) -> MatmulWork:
    """A work of any layout."""
    m, k, n = (int(1 if rng.random() < 0.1 else rng.integers(1, most)) for _ in range(3))
    batch = int(rng.choice([1, 1, 2, 3]))
    left_t, right_t = (bool(rng.random() < 0.3) for _ in range(2))
    fields = {}
    for name, lines, length in (
        ("left", *((k, m) if left_t else (m, k))), ("right", *((k, n) if right_t else (n, k))), ("result", m, n)
    ):  # fmt: skip
        kind = rng.integers(4)
        if kind == 1:  # some room behind each line
            fields[f"{name}_pitch"] = length + int(rng.integers(1, 9))
        elif kind == 2:  # products side by side in a line
            fields[f"{name}_step"] = length + length % 2
            fields[f"{name}_pitch"] = batch * (length + length % 2) + int(rng.integers(0, 9))
        elif kind == 3:
            fields[f"{name}_step"] = lines * (length + length % 2) + 2 * int(rng.integers(0, 9))
    return MatmulWork(
        m=m, k=k, n=n, batch=batch, left_transposed=left_t, right_transposed=right_t, weights=bool(rng.random() < 0.5),
        row_scales=bool(rng.random() < 0.2), left_bits=int(rng.choice([4, 8])), right_bits=int(rng.choice([4, 8])), **fields,
    )  # fmt: skip


def ends(rng: np.random.Generator, work: MatmulWork) -> MatmulWork:
    """With random steps and outputs."""
    steps = [
        Step(function="relu"), Step(function="gelu"), Step(function="add", operand="tensor"), Step(function="multiply", operand="channel"),
        Step(function="subtract", operand="channel"), Step(function="multiply", operand="scalar", constant=0.5),
    ]  # fmt: skip
    count = int(rng.choice([0, 0, 1, 2, 3]))
    chosen = tuple(steps[i] for i in rng.permutation(len(steps))[:count])
    outputs: tuple[str, ...] = [("fp16",), ("quantised",), ("fp16", "quantised")][rng.integers(3)]
    return dataclasses.replace(work, steps=chosen, outputs=outputs, inverse_step=1.75)


@pytest.mark.parametrize("name", MACHINES)
def test_products_of_any_size_width_and_layout(name):
    config = MACHINES[name]
    for seed in range(12 if name == "default" else 60):
        rng = np.random.default_rng([SEED, seed, 1])
        Product(drawn(rng, 120 if name == "default" else 30), config, seed).check()


@pytest.mark.parametrize("name", MACHINES)
def test_products_of_any_end(name):
    config = MACHINES[name]
    for seed in range(6 if name == "default" else 25):
        rng = np.random.default_rng([SEED, seed, 2])
        work = ends(rng, drawn(rng, 90 if name == "default" else 24))
        Product(work, config, seed).check()


STEPS: dict[str, Sequence[Step]] = {
    "software": [Step(function="relu")],
    "activation": [Step(function="gelu")],
    "scalar": [Step(function="multiply", operand="scalar", constant=0.25)],
    "tensor": [Step(function="add", operand="tensor")],
    "channel": [Step(function="multiply", operand="channel"), Step(function="add", operand="channel")],
    "several": [
        Step(function="multiply", operand="channel"), Step(function="gelu"), Step(function="add", operand="tensor"), Step(function="relu"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("outputs", [("fp16",), ("quantised",), ("fp16", "quantised")])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("config", [DEFAULT, DEFAULT.baseline()], ids=["flex", "software"])
def test_steps(steps, outputs, config):
    work = MatmulWork(m=70, k=40, n=77, steps=tuple(STEPS[steps]), outputs=outputs, inverse_step=2.5)
    Product(work, config, 1).check()


@pytest.mark.parametrize("outputs", [("fp16",), ("quantised",), ("fp16", "quantised")])
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("n", [1, 4, 5])
def test_steps_of_tiles_narrower_than_the_array(steps, outputs, n):
    work = MatmulWork(m=9, k=8, n=n, steps=tuple(STEPS[steps]), outputs=outputs, inverse_step=2.5)
    Product(work, WIDE, 1).check()


@pytest.mark.parametrize("bits", [(4, 4), (8, 4), (4, 8), (8, 8)])
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("k", [640, 801, 802, 2501])
def test_chunks_of_k(bits, transposed, k):
    config = machine(16, 16, 4, size_kib=16, banks=16)
    work = MatmulWork(
        m=35, k=k, n=19, batch=2, left_bits=bits[0], right_bits=bits[1], left_transposed=transposed,
        right_transposed=not transposed, outputs=("quantised",) if k == 801 else ("fp16",),
    )  # fmt: skip
    program = Product(work, config, k).check()
    assert "mm.accumulate" in opcodes(program)


@pytest.mark.parametrize("bits", [(4, 4), (8, 8)])
def test_what_stays_has_one_buffer_where_two_do_not_fit(bits):
    config = machine(16, 16, 4, size_kib=16, banks=16)
    work = MatmulWork(
        m=70, k=480 // bits[0] * 4, n=40, left_bits=bits[0], right_bits=bits[1], outputs=("quantised",)
    )
    for m, n in ((70, 40), (40, 70)):
        product = Product(dataclasses.replace(work, m=m, n=n), config, m)
        nest = Nest(product.work, config)
        assert not nest.whole()
        (program,) = nest.whole(staying=1)
        assert "mm.accumulate" not in opcodes(product.check(program))
        assert sum(f"@{name}.1" in program.buffers_bytes for name in ("left", "right")) == 1
        if bits == (8, 8):  # chunks would be loaded in each pass
            assert product.work.program(config) == program


def test_chunks_of_k_with_steps():
    config = machine(16, 16, 8, size_kib=32, banks=32)
    for outputs in (("fp16",), ("quantised", "fp16")):
        for bits in (4, 8):
            work = MatmulWork(
                m=19, k=1900, n=33, weights=bits == 4, left_bits=bits, right_bits=bits, steps=tuple(STEPS["several"][2:]), outputs=outputs
            )  # fmt: skip
            program = Product(work, config, bits).check()
            assert "mm.accumulate" in opcodes(program)


@pytest.mark.parametrize(("m", "n", "stays"), [(160, 18, "right"), (18, 160, "left")])
@pytest.mark.parametrize("transposed", [False, True])
def test_either_operand_stays(m, n, stays, transposed):
    config = machine(4, 4, 2, size_kib=16, banks=32)
    work = MatmulWork(
        m=m, k=120, n=n, left_transposed=transposed, right_transposed=transposed, steps=tuple(STEPS["channel"]), outputs=("quantised",)
    )  # fmt: skip
    product = Product(work, config, m)
    program = product.check()
    streams = {"left": "right", "right": "left"}[stays]
    assert loads_of(program.body, stays) < loads_of(program.body, streams)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tiles", [1, 2])
def test_nests_of_both_kinds(transposed, tiles):
    work = MatmulWork(
        m=33, k=20, n=29, batch=2, left_transposed=transposed, right_transposed=transposed, steps=tuple(STEPS["channel"]),
        outputs=("quantised",),
    )  # fmt: skip
    product = Product(work, SMALL, tiles)
    nest = Nest(product.work, SMALL)
    left = nest.assemble(nest.left_stationary(3 * 4, tiles * 4), 12, tiles * 4, 20)
    right = nest.assemble(nest.right_stationary(3 * 4, tiles * 4, 1), tiles * 4, 12, 20, (2, 1))
    product.check(left)
    product.check(right)
    assert (loads_of(left.body, "left"), loads_of(right.body, "right")) == (2 * 3, 2 * 3)


@pytest.mark.parametrize("steps", ["software", "channel"])
@pytest.mark.parametrize(("m", "n"), [(90, 19), (19, 90), (130, 70)])
def test_what_stays_is_read_no_more_often_than_the_core_can_count(m, n, steps, monkeypatch):
    work = MatmulWork(m=m, k=9, n=n, steps=tuple(STEPS[steps]), outputs=("quantised",))
    product = Product(work, SMALL, m)
    program = product.work.program(SMALL)
    places = {
        i.external.base: number << 16 for number, i in enumerate(flatten_once(program.body)) if i.external
    }
    monkeypatch.setattr(tag_counts, "MODULUS", 64)
    with pytest.raises(ValueError, match="must be read less than 64 times"):
        Host(program=program, config=SMALL, tensors=places)
    monkeypatch.setattr(matmul_nest, "MOST_ACCESSES", 63)
    Host(program=product.check(), config=SMALL, tensors=places)


def test_heads_lie_interleaved():
    """Attention's products on tensors of shape (tokens, heads, width), for one head after the other."""
    heads, tokens, width = 3, 50, 16
    rows = {"pitch": heads * width, "step": width}
    scores = MatmulWork(
        m=tokens, k=width, n=tokens, batch=heads, weights=False, outputs=("quantised",),
        left_pitch=rows["pitch"], left_step=rows["step"], right_pitch=rows["pitch"], right_step=rows["step"],
    )  # fmt: skip
    values = MatmulWork(
        m=tokens, k=tokens, n=width, batch=heads, weights=False, right_transposed=True, right_pitch=rows["pitch"],
        right_step=rows["step"], result_pitch=rows["pitch"], result_step=rows["step"], outputs=("fp16", "quantised"),
    )  # fmt: skip
    for work in (scores, values):
        for config in (DEFAULT, SMALL):
            Product(work, config, 3).check()


def test_the_constants_of_activations_are_loaded_once():
    for config in (DEFAULT, SMALL):
        work = MatmulWork(m=70, k=40, n=77, batch=3, weights=False)
        program = Product(work, config, 5).check()
        tiles = [i for i in flatten_once(program.body) if i.opcode == "mm.tile"]
        assert [i.reload for i in tiles] == [True] + [False] * (len(tiles) - 1)
        assert sum(i.reads == () and i.writes == ("@constants",) for i in flatten_once(program.body)) == 1


def test_a_long_batch_is_a_loop():
    work = MatmulWork(m=9, k=33, n=7, batch=40, weights=False)
    program = Product(work, SMALL, 7).check()
    assert any(isinstance(node, Loop) and node.index == "batch" and node.count == 39 for node in program.body)


@pytest.mark.parametrize("field", ["left_step", "right_step", "result_step"])
def test_a_product_begins_with_a_byte(field):
    work = MatmulWork(m=9, k=9, n=9, batch=2, outputs=("quantised",), **{field: 81})
    with pytest.raises(ValueError, match="must be"):
        work.program(DEFAULT)


def test_an_array_of_one_column_has_no_int4_side_by_side():
    config = machine(4, 1, 1)
    with pytest.raises(
        ValueError, match=r"matrix\.columns must be at least 2 for tiles of INT4 side by side, not 1"
    ):
        MatmulWork(m=4, k=4, n=4, outputs=("quantised",)).program(config)
    Product(MatmulWork(m=5, k=4, n=1, outputs=("quantised",)), config, 1).check()


def test_the_program_that_is_priced_does_the_same():
    """Its loops are unrolled until all runs of a loop lie alike in a word of the bus."""
    for seed in range(20):
        rng = np.random.default_rng([SEED, seed, 3])
        product = Product(ends(rng, drawn(rng, 24)), SMALL, seed)
        product.check(with_alignment(product.work.program(SMALL), 32))


@pytest.mark.parametrize(
    ("side", "what"), [("left", "@left.0"), ("right", "@right.0"), ("results", "@fp16.0"), ("constants", "@right.0")]
)  # fmt: skip
def test_nothing_is_executed_beyond_a_buffer(side, what):
    product = Product(MatmulWork(m=4, k=8, n=4), SMALL, 1)
    program = product.work.program(SMALL)

    def beyond(node: Node) -> Node:
        if not isinstance(node, Instruction) or node.tile is None:
            return node
        size, tile = program.buffers_bytes[what], node.tile
        if side in ("left", "right"):
            lines = getattr(tile, side)
            extent = lines.stride_bytes * (lines.lines - 1) + 4
            lines = dataclasses.replace(lines, address=Address(what, size - extent + 1))
            return dataclasses.replace(node, tile=dataclasses.replace(tile, **{side: lines}))
        extent = 32 if side == "results" else 24
        return dataclasses.replace(
            node, tile=dataclasses.replace(tile, **{side: Address(what, size - extent + 1)})
        )

    body = tuple(beyond(node) for node in program.body)
    with pytest.raises(ValueError, match=rf"mm\.tile: .* of {what} are beyond its .* bytes"):
        product.check(dataclasses.replace(program, body=body))


@pytest.mark.parametrize("name", MACHINES)
def test_the_listing_is_what_is_executed(name, check_stream):
    work = MatmulWork(m=40, k=33, n=21, batch=2, steps=tuple(STEPS["several"]), outputs=("fp16", "quantised"))
    check_stream(work.program(MACHINES[name]), MACHINES[name])
