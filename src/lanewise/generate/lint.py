"""Verilator's lint over generated Verilog, with every waiver explained."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from lanewise.errors import UserError
from lanewise.generate.manifest import read_manifest
from lanewise.rtl.toolchain import require_tools, verilator_environment

CONTROL_FILE = "lint.vlt"


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """A warning that is expected."""

    rule: str
    match: str
    """Pattern of the warning's text; ``*`` stands for anything."""
    reason: str


WAIVERS = (
    Waiver(
        rule="DECLFILENAME",
        match="*",
        reason="a block's submodules stay in its file, so that a block is one file",
    ),
    Waiver(
        rule="PROCASSINIT",
        match="*",
        reason="a register's power-on value is in its declaration, its reset in the process",
    ),
    Waiver(
        rule="CASEINCOMPLETE",
        match="*",
        reason="every always block assigns its default before the case",
    ),
    Waiver(
        rule="WIDTHEXPAND",
        match="Operator *",
        reason="operands are written at their own widths; the language extends them as Amaranth means it",
    ),
    Waiver(
        rule="WIDTHTRUNC",
        match="Logical operator LOGNOT *",
        reason="! of a number is yosys' way to write == 0",
    ),
    Waiver(
        rule="UNUSEDSIGNAL",
        match="Signal is not used: '*$*'*",
        reason="an intermediate result of which nothing is taken in the end",
    ),
    Waiver(
        rule="UNUSEDSIGNAL",
        match="Bits of signal are not used: '*$*'*",
        reason="an intermediate result is as wide as its operands ask, and taken as wide as is needed",
    ),
    Waiver(
        rule="WIDTHTRUNC",
        match="Operator ASSIGNW *Assign RHS's SHIFTR *",
        reason="the part that a shift brings down is taken, at its own width",
    ),
    Waiver(
        rule="CMPCONST",
        match="*",
        reason="a count is compared with every place of a word, and cannot reach the last ones of a narrow count",
    ),
    *(
        Waiver(
            rule="UNUSEDSIGNAL",
            match=f"Bits of signal are not used: '{name}'*",
            reason="the fields of an instruction or a beat go together, and each place takes those that concern it",
        )
        for name in ("add", "b", "beat", "beats", "control", "multiply", "part", "read", "w", "width", "x")
    ),
    *(
        Waiver(rule="UNUSEDSIGNAL", match=f"Bits of signal are not used: '{name}'*", reason=reason)
        for name, reason in (
            ("*_rotated_*", "a client takes fewer bytes than a row has"),
            ("active", "an instruction that takes an element a clock has the first bit alone"),
            ("beat_*", "levels of a tree pass on what the next ones need; the last one has no next"),
            ("ended", "levels of a tree pass on what the next ones need; the last one has no next"),
            ("flags_*", "an adder of one format has no use for every flag of all formats"),
            ("keys_*", "levels of a tree pass on what the next ones need; the last one has no next"),
            ("total", "a sum's lowest bit has done its work when its carry has gone up"),
            ("valid", "results are taken when they are due, and the last stage's bit is for other users"),
        )
    ),
    *(
        Waiver(rule="UNUSEDSIGNAL", match=f"Signal is not used: '{name}'*", reason=reason)
        for name, reason in (
            ("busy", "who asks the matrix unit alone needs it"),
            ("o_valid", "results are taken when they are due"),
            ("partial_*", "levels of a tree pass on what the next ones need; the last one has no next"),
        )
    ),
    Waiver(
        rule="UNUSEDSIGNAL",
        match="Signal is not used: 'rst'*",
        reason="a lane without control state has no reset",
    ),
)


def control_file() -> str:
    """The waivers as a Verilator control file, each with its reason."""
    lines = ["`verilator_config", ""]
    for waiver in WAIVERS:
        lines += [
            f"// {waiver.reason}",
            f'lint_off -rule {waiver.rule} -file "*" -match "{waiver.match}"',
            "",
        ]
    return "\n".join(lines)


def lint(folder: Path, *, waivers: bool = True) -> list[str]:
    """Warnings of ``verilator --lint-only -Wall`` on every top in a generated folder; none is what one wants.

    Args:
        folder: An output of :func:`lanewise.generate.generate`.
        waivers: Whether to leave out the warnings that :data:`WAIVERS` explain.

    Raises:
        UserError: The folder is no such output, or a system tool is missing.
    """
    tops = read_manifest(folder)["tops"]
    require_tools()
    warnings: list[str] = []
    for top, entry in tops.items():
        files = [CONTROL_FILE] if waivers else []
        command = [
            "verilator",
            "--lint-only",
            "-Wall",
            "-Wno-fatal",
            "--top-module",
            top,
            *files,
            entry["file"],
        ]
        with verilator_environment():
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        found = [line for line in run.stderr.splitlines() if line.startswith("%")]
        if run.returncode and not found:
            raise UserError(
                f"{folder}: verilator failed: {run.stderr.strip()}; expected Verilog that it reads"
            )
        warnings += found
    return warnings
