"""Random programs of the core, legal and full of hazards."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from lanewise.config import MachineConfig
from lanewise.isa.operations import OPERATIONS, Operation
from lanewise.isa.vtype import LMULS, SEWS, Vtype
from lanewise.models.lfsr import lane_states
from lanewise.verify.core_entries import Entry, Seed
from lanewise.verify.core_tiles import TileWriter
from lanewise.verify.core_writer import (
    DUMP,
    DUMPED,
    REGION_BYTES,
    REGIONS,
    SOURCE_BYTES,
    TABLES,
    ProgramWriter,
    table_length,
)


def begin(writer: ProgramWriter) -> None:
    """Fill buffers and registers."""
    config = writer.config
    if config.matrix.splits:
        states = lane_states(int(writer.rng.integers(1 << 32)), config.matrix.requantiser_lanes)
        writer.entries += [Seed(lane=lane, state=int(state)) for lane, state in enumerate(states)]
    for region in range(REGIONS):
        writer.transfer("load", region, region * REGION_BYTES, REGION_BYTES)
    if config.flex_sfu.enabled:
        size = 4 * table_length(config.flex_sfu) * config.flex_sfu.banks * len(config.flex_sfu.formats)
        assert size <= SOURCE_BYTES
        writer.transfer("load", TABLES, SOURCE_BYTES, size)
    fill_registers(writer)


def fill_registers(writer: ProgramWriter) -> None:
    """Load all registers from somewhere in the buffers."""
    vtype = Vtype(8, Fraction(8))
    length = min(vtype.vlmax(writer.config.vector.vlen_bits), REGION_BYTES)
    writer.vset(vtype, length)
    for register in (0, 8, 16, 24):
        region = int(writer.rng.integers(REGIONS))
        place = writer.start_of(region) + int(writer.rng.integers(REGION_BYTES - length + 1))
        writer.add(OPERATIONS["vle8.v"], vd=register, rs1=place, region=region)


def end(writer: ProgramWriter) -> None:
    """Registers and buffers to external memory."""
    vlen = writer.config.vector.vlen_bits
    writer.vset(Vtype(8, Fraction(8)), vlen)
    for k, register in enumerate((0, 8, 16, 24)):
        writer.add(OPERATIONS["vse8.v"], vd=register, rs1=writer.start_of(DUMP) + k * vlen, region=DUMP)
    writer.transfer("store", DUMP, DUMPED, 4 * vlen)
    for region in range(REGIONS):
        writer.transfer("store", region, DUMPED + 4 * vlen + region * REGION_BYTES, REGION_BYTES)


END_ENTRIES = 6 + REGIONS
"""How many :func:`end` adds."""


def random_program(config: MachineConfig, rng: np.random.Generator, length: int) -> list[Entry]:
    """So many entries, and those that begin and end a program."""
    writer = ProgramWriter(config=config, rng=rng)
    tiles = TileWriter(writer=writer)
    begin(writer)
    share = float(rng.choice([0.05, 0.15, 0.4])) if config.matrix.splits else 0.0
    for _ in range(length):
        kind = rng.random()
        if rng.random() < share:
            tiles.draw()
        elif kind < 0.12:
            writer.draw_vset()
        elif kind < 0.18 and config.flex_sfu.enabled:
            writer.draw_sfu()
        elif kind < 0.24:
            writer.draw_transfer(str(rng.choice(["load", "store"])))
        elif kind < 0.3 and config.weight_generator.enabled:
            writer.draw_generate()
        else:
            writer.draw()
    end(writer)
    return writer.entries


def long_program(config: MachineConfig, rng: np.random.Generator, rounds: int) -> list[Entry]:
    """So many stores of an element to a buffer, each with a load behind it; DMA and matrix commands now and then."""
    writer = ProgramWriter(config=config, rng=rng)
    tiles = TileWriter(writer=writer)
    begin(writer)
    writer.vset(Vtype(8, Fraction(1)), 1)
    for number in range(rounds):
        vd, vs = (int(register) for register in rng.integers(0, 32, 2))
        place = writer.start_of(0) + int(rng.integers(REGION_BYTES))
        writer.add(OPERATIONS["vse8.v"], vd=vs, rs1=place, region=0)
        writer.add(OPERATIONS["vle8.v"], vd=vd, rs1=place, region=0)
        if number % 50 == 0:
            writer.draw_transfer(str(rng.choice(["load", "store"])))
            if config.matrix.splits:
                tiles.draw()
    end(writer)
    return writer.entries


def programs_of(
    config: MachineConfig, rng: np.random.Generator, operation: Operation, length: int
) -> Iterator[list[Entry]]:
    """Programs of one instruction, for each SEW and LMUL (and BF16) that it exists for; registers filled anew every so often."""
    states = [
        Vtype(sew, lmul, altfmt) for sew in SEWS for lmul in LMULS if sew <= 64 * lmul
        for altfmt in ((False, True) if operation.floating and sew == 16 else (False,))
        if sew in operation.sews or operation.eew_bits
    ]  # fmt: skip
    writer = ProgramWriter(config=config, rng=rng)
    begin(writer)
    drawn = 0
    for state in states * (2 if operation.vm is None else 1):
        writer.vset(state, writer.draw_length(state))
        drawn += writer.draw(operation) + writer.draw(operation)
        if rng.random() < 0.25:
            fill_registers(writer)
        if len(writer.entries) >= length:
            end(writer)
            yield writer.entries
            writer = ProgramWriter(config=config, rng=rng)
            begin(writer)
    end(writer)
    if not drawn:
        raise ValueError(f"{operation.mnemonic} must be legal somewhere")
    yield writer.entries
