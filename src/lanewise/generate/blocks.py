"""The blocks of a machine that are written as Verilog, each as a top module of its own."""

from dataclasses import dataclass

from amaranth.lib import wiring

from lanewise.config import MachineConfig
from lanewise.formats import FORMATS
from lanewise.rtl.address_decoder import AddressDecoder
from lanewise.rtl.arrays import array_of
from lanewise.rtl.coefficient_table import CoefficientTable
from lanewise.rtl.core import Core
from lanewise.rtl.dma import Dma
from lanewise.rtl.flex_sfu import FlexSfu
from lanewise.rtl.int4_quantiser import Int4Quantiser
from lanewise.rtl.matrix_stream import MatrixStream
from lanewise.rtl.matrix_unit import MatrixUnit
from lanewise.rtl.multiply_add import MultiplyAdd
from lanewise.rtl.operand_path import OperandPath
from lanewise.rtl.row_norms import RowNorms
from lanewise.rtl.row_sampler import RowSampler
from lanewise.rtl.vector_unit import VectorUnit
from lanewise.rtl.verilog import Port, emit_verilog, ports_of
from lanewise.rtl.walsh_hadamard import WalshHadamard
from lanewise.rtl.weight_generator import WeightGenerator

PREFIX = "lanewise_"
"""Begins the name of every module, so that none collides with a module of the project that includes them."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block in Verilog."""

    name: str
    top: str
    """Name of its top module; its submodules' names begin with it."""
    verilog: str
    ports: tuple[Port, ...]


def blocks(config: MachineConfig) -> list[Block]:
    """The core, and every block of the machine; without Flex-SFU, none of its parts; with FP16 operands, the array alone of the matrix unit.

    Raises:
        ValueError: Flex-SFU has other lanes than the vector unit, so that there is no such core.
    """
    components: dict[str, wiring.Component] = {
        "core": Core(config),
        "dma": Dma(config),
        "vector_unit": VectorUnit(config),
        "multiply_add": MultiplyAdd(lanes=config.vector.lanes, formats=(FORMATS["fp16"],)),
        "mac_array": array_of(config.matrix),
        "row_norms": RowNorms(config.operand_path),
        "row_sampler": RowSampler(config.operand_path),
        "operand_path": OperandPath(config.operand_path),
        "walsh_hadamard": WalshHadamard(config.operand_path),
        "int4_quantiser": Int4Quantiser(config.operand_path),
    }
    if config.matrix.integers:
        components["matrix_stream"] = MatrixStream(config)
        components["matrix_unit"] = MatrixUnit(config.matrix)
    if config.weight_generator.enabled:
        components["weight_generator"] = WeightGenerator(config)
    if config.flex_sfu.enabled:
        components |= {
            "flex_sfu": FlexSfu(config.flex_sfu),
            "address_decoder": AddressDecoder(config.flex_sfu),
            "coefficient_table": CoefficientTable(config.flex_sfu),
        }
    return [_block(name, components[name]) for name in sorted(components)]


def _block(name: str, component: wiring.Component) -> Block:
    top = PREFIX + name
    verilog = emit_verilog(component, top)
    return Block(name=name, top=top, verilog=verilog, ports=ports_of(verilog, top))
