"""Elements, payloads and cases for the benches of the operand path's parts."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from lanewise.config import ROW_NORM_BITS, MachineConfig, OperandPathConfig
from lanewise.formats import NumberFormat
from lanewise.models.int4_quantiser import QuantiserSettings
from lanewise.models.numbers import Bits, encode
from lanewise.verify.bench import Case
from lanewise.verify.words import concatenate, from_words, to_words

Ints = npt.NDArray[np.int64]


def path_cases(machine: MachineConfig, full: bool, *, label_formats: bool = True) -> list[Case]:
    """The machine's path, the narrowest one with both formats; in full, every number of lanes and smaller blocks."""
    both = ("fp16", "bf16")
    configs = [OperandPathConfig(lanes=8, formats=both), machine.operand_path]
    if full:
        configs += [
            OperandPathConfig(lanes=16, largest_block=8),
            OperandPathConfig(lanes=16, largest_block=16, formats=("bf16",)),
            OperandPathConfig(lanes=32, largest_block=32, formats=both),
            OperandPathConfig(lanes=64),
        ]
    if not label_formats:
        configs = [dataclasses.replace(config, formats=("fp16",)) for config in configs]
    cases = {_label(config, label_formats): config for config in configs}
    return [Case(label=label, config=config) for label, config in cases.items()]


def _label(config: OperandPathConfig, formats: bool) -> str:
    return "x".join([f"{config.lanes}", f"{config.largest_block}", *(config.formats if formats else ())])


def transform_words(
    config: OperandPathConfig, x: Bits, exponents: Any, blocks: Any, form: NumberFormat
) -> list[int]:
    """Payloads of beats; elements of shape ``(beats, lanes)``, exponents and blocks one a beat or one for all."""
    beats = len(x)
    exponent = np.broadcast_to(np.asarray(exponents), beats) & 63
    index = [config.blocks.index(block) for block in np.broadcast_to(np.asarray(blocks), beats).tolist()]
    fields: list[Any] = [
        (to_words(x, 16), 16 * config.lanes),
        (index, (len(config.blocks) - 1).bit_length()),
        (exponent.tolist(), 6),
    ]
    if len(config.formats) > 1:
        fields.append(([config.formats.index(form.name)] * beats, 1))
    return concatenate(*fields)


def random_operands(
    rng: np.random.Generator, config: OperandPathConfig, form: NumberFormat, beats: int
) -> Bits:
    """Any bit patterns, Gaussian numbers with outliers, and extremes of both signs; shape ``(beats, lanes)``."""
    shape = (beats, config.lanes)
    patterns = rng.integers(0, 1 << 16, size=shape, dtype=np.uint16)
    gaussian = rng.normal(size=shape) * np.where(rng.random(shape) < 0.02, 40.0, 1.0)
    extremes = np.where(rng.random(shape) < 0.5, -6e4, 6e4)
    kind = rng.integers(0, 3, size=(beats, 1))
    return np.choose(kind, [patterns, encode(gaussian, form), encode(extremes, form)]).astype(np.uint16)


def random_blocks(rng: np.random.Generator, config: OperandPathConfig, count: int) -> Ints:
    """The block of each beat, whole blocks of random sizes one behind the other."""
    drawn = rng.choice(np.array(config.blocks), size=count)
    return np.repeat(drawn, [config.block_beats(int(block)) for block in drawn])


def settings_word(settings: QuantiserSettings) -> int:
    """The quantiser's settings as they are in a payload."""
    wide = settings.bits == 8
    return settings.shift | settings.rounding << 6 | wide << 8 | settings.multiplier << 9


def state_loads(lanes: int, states: npt.NDArray[np.uint32]) -> list[int]:
    """Payloads that load the lanes' states."""
    address_bits = max(1, (lanes - 1).bit_length())
    return [lane | int(state) << address_bits for lane, state in enumerate(states.tolist())]


def path_results(words: list[int], lanes: int) -> npt.NDArray[Any]:
    """Of each beat lo, hi and the flags ``inside``; shape ``(beats, 3 * lanes)``."""
    return np.hstack(
        [from_words(words, 4, 2 * lanes), from_words([word >> 8 * lanes for word in words], 1, lanes)]
    )


def norm_pairs(words: list[int]) -> npt.NDArray[np.int64]:
    """Of each row its sums of lo and of hi, shape ``(rows, 2)``."""
    mask = (1 << ROW_NORM_BITS) - 1
    pairs = [(word & mask, word >> ROW_NORM_BITS) for word in words]
    return np.array(pairs, np.int64).reshape(-1, 2)
