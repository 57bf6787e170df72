"""The machine description: defaults, validation where it is made, and one line for each kind of bad file."""

import dataclasses
import re

import pytest

from lanewise.config import (
    DmaConfig,
    FlexSfuConfig,
    MachineConfig,
    MatrixConfig,
    OperandPathConfig,
    ScratchpadConfig,
    VectorConfig,
    load_config,
)
from lanewise.errors import UserError


def test_toml_round_trip(tmp_path):
    config = dataclasses.replace(MachineConfig(), matrix=MatrixConfig(rows=8, columns=4), clock_ns=1.25)
    path = tmp_path / "machine.toml"
    path.write_text(config.toml)
    assert load_config(path) == config
    assert load_config(path).hash == config.hash != MachineConfig().hash


def test_no_file_is_the_default_machine():
    assert load_config(None) == MachineConfig()


def test_flex_sfu_follows_the_vector_lanes(tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text("[vector]\nlanes = 4\n")
    assert load_config(path).flex_sfu.lanes == 4


def test_baseline_differs_in_flex_sfu_alone():
    config = MachineConfig()
    assert dataclasses.replace(config.baseline(), flex_sfu=config.flex_sfu) == config
    assert not config.baseline().flex_sfu.enabled


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[matrix]\nrow = 3\n",
            "matrix.row: unknown key; expected one of rows, columns, operand_bits, accumulator_bits, output_lanes",
        ),
        (
            "speed = 1\n",
            "speed: unknown key; expected one of clock_ns, flex_sfu, matrix, operand_path, vector, scratchpad, dma, weight_generator",
        ),
        ("[matrix]\nrows = 3.5\n", "matrix.rows: input should be a valid integer, not 3.5"),
        ("[matrix]\nrows = '8'\n", "matrix.rows: input should be a valid integer, not '8'"),
        ("[flex_sfu]\nsegments = 33\n", "flex_sfu.segments must be 4, 8, 16, 32 or 64, not 33"),
        (
            "[flex_sfu]\nlanes = 3\n",
            "flex_sfu.lanes must be a divisor of vector.lanes = 8, not 3",
        ),
        ("[flex_sfu]\nlanes = 4\n", "flex_sfu.lanes must be vector.lanes = 8, not 4"),
        (
            "[matrix]\noutput_lanes = 5\n",
            "matrix.output_lanes must be even, or at least matrix.columns = 32, not 5",
        ),
        ("[dma]\nlatency_clk = 4\n", "dma.latency_clk must be 5 to 4096, not 4"),
        ("[flex_sfu]\nenabled = 1\n", "flex_sfu.enabled: input should be a valid boolean, not 1"),
        ("[vector]\nlanes = true\n", "vector.lanes: input should be a valid integer, not True"),
        ("[vector]\nlanes = 3\n", "vector.lanes must be a power of two, 1 to 64, not 3"),
        ("matrix = 5\n", "matrix: input should be an object, not 5"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "machine.toml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"^{re.escape(f'{path}: {message}')}$"):
        load_config(path)


def test_what_is_no_toml_is_refused(tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text("rows == 3")
    with pytest.raises(UserError, match="is not TOML"):
        load_config(path)
    with pytest.raises(UserError, match="cannot be read: No such file or directory; expected a TOML file"):
        load_config(tmp_path / "absent.toml")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="is not TOML"):
        load_config(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlexSfuConfig(segments=5), "segments must be 4, 8, 16, 32 or 64, not 5"),
        (lambda: FlexSfuConfig(degree=3), "degree must be 1 or 2, not 3"),
        (
            lambda: FlexSfuConfig(formats=("fp16", "fp64")),
            "formats must be different ones of int8, int16, int32, fp8e4m3, fp8e5m2, fp16, bf16, fp32, at least one, "
            "not ['fp16', 'fp64']",
        ),
        (
            lambda: FlexSfuConfig(formats=("fp16", "fp16")),
            "formats must be different ones of int8, int16, int32, fp8e4m3, fp8e5m2, fp16, bf16, fp32, at least one, "
            "not ['fp16', 'fp16']",
        ),
        (lambda: MatrixConfig(operand_bits=5), "operand_bits must be 4, 8 or 16, not 5"),
        (lambda: MatrixConfig(output_lanes=65), "output_lanes must be 1 to 64, not 65"),
        (
            lambda: VectorConfig(vlen_bits=100),
            "vlen_bits must be a power of two, 128 to 65536, and at least 32 x lanes = 256, not 100",
        ),
        (lambda: OperandPathConfig(lanes=4), "lanes must be 8, 16, 32 or 64, not 4"),
        (lambda: OperandPathConfig(row_bits=25), "row_bits must be 8 to 24, not 25"),
        (lambda: OperandPathConfig(largest_block=1), "largest_block must be 8, 16, 32 or 64, not 1"),
        (
            lambda: OperandPathConfig(formats=("fp16", "fp32")),
            "formats must be fp16, bf16 or both, not ['fp16', 'fp32']",
        ),
        (lambda: ScratchpadConfig(size_kib=1), "size_kib must be 16 to 65536, not 1"),
        (lambda: DmaConfig(bytes_per_clk=3), "bytes_per_clk must be a power of two, 4 to 512, not 3"),
        (lambda: MachineConfig(clock_ns=0), "clock_ns must be 0.1 to 1000, not 0"),
    ],
)
def test_every_part_validates_itself(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make()
