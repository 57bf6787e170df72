"""FuseSoC description of the generated Verilog."""

from lanewise import __version__
from lanewise.generate.blocks import Block
from lanewise.generate.lint import CONTROL_FILE

NAME = "lanewise.core"


def core_file(blocks: list[Block], config_hash: str) -> str:
    """A CAPI=2 core: a file set and a target for each block, and one target with everything to depend on."""
    lines = [
        "CAPI=2:",
        f"name: lanewise:rtl:machine:{__version__}",
        f"description: Vector and matrix unit blocks of machine {config_hash}",
        "",
        "filesets:",
    ]
    for block in blocks:
        lines += [f"  {block.name}:", f"    files: [{block.top}.v]", "    file_type: verilogSource", ""]
    lines += ["  waivers:", f"    files: [{CONTROL_FILE}]", "    file_type: vlt", ""]
    names = ", ".join(block.name for block in blocks)
    lines += ["targets:", "  default:", f"    filesets: [{names}]", ""]
    for block in blocks:
        lines += [
            f"  {block.name}:", f"    filesets: [{block.name}]", f"    toplevel: {block.top}", "",
            f"  lint_{block.name}:", "    default_tool: verilator", f"    filesets: [{block.name}, waivers]",
            f"    toplevel: {block.top}", "    tools:", "      verilator:", "        mode: lint-only",
            "        verilator_options: [-Wall]", "",
        ]  # fmt: skip
    return "\n".join(lines)
