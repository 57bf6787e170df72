import re

import pytest

from lanewise.errors import UserError
from lanewise.synth.liberty import load_liberty


def test_default_is_nangate_45_nm():
    library = load_liberty()
    assert (library.name, library.node_nm, len(library.cells)) == ("NangateOpenCellLibrary", 45.0, 135)
    assert library.cells["DFF_X1"].area_um2 == 4.522
    assert library.inverter.name == "INV_X1"
    assert library.load_ff == pytest.approx(4 * 1.70023, abs=1e-3)


def test_every_cell_and_area_is_read(nangate_text):
    # A second reading, by lines: the file has each cell's area on a line of its own.
    areas, name = {}, ""
    for line in nangate_text.splitlines():
        if match := re.match(r"\s*cell \((\w+)\)", line):
            name = match[1]
        elif name and name not in areas and (match := re.match(r"\s*area\s*:\s*([\d.]+)", line)):
            areas[name] = float(match[1])
    assert {cell.name: cell.area_um2 for cell in load_liberty().cells.values()} == areas


def test_kinds_of_cells():
    cells = load_liberty().cells.values()
    assert {c.name for c in cells if c.flip_flop} == {
        f"{scan}DFF{kind}_X{drive}" for scan in ("", "S") for kind in ("", "R", "S", "RS") for drive in (1, 2)
    }
    assert {c.name for c in cells if c.latch} == {"DLH_X1", "DLH_X2", "DLL_X1", "DLL_X2", "TLAT_X1"}
    assert {c.name for c in cells if c.inverter_input_ff} == {f"INV_X{2**k}" for k in range(6)}


def test_another_library_has_no_node_unless_given(cut_library):
    path = cut_library("INV_X1", "DFF_X1")
    assert (load_liberty(path).name, load_liberty(path).node_nm) == ("cut", None)
    assert load_liberty(path, node_nm=28.0).node_nm == 28.0


def test_capacitance_in_picofarads(cut_library):
    path = cut_library("INV_X1", "DFF_X1")
    path.write_text(path.read_text().replace("(1,ff)", '(0.1, "pf")'))
    assert load_liberty(path).inverter.inverter_input_ff == pytest.approx(170.023)


def refusal(path, **options) -> str:
    with pytest.raises(UserError) as caught:
        load_liberty(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "LIB")


def test_missing_file_is_refused(tmp_path):
    assert refusal(tmp_path / "no.lib") == (
        "LIB: cannot be read: No such file or directory; expected a Liberty file"
    )
    assert refusal(tmp_path) == "LIB: cannot be read: Is a directory; expected a Liberty file"


@pytest.mark.parametrize(
    "content", [b"", b"module m(); endmodule\n", b"\x00\xff\x80 library (x) {}", b"cell (x) {}"]
)
def test_file_that_is_not_liberty_is_refused(tmp_path, content):
    path = tmp_path / "a.lib"
    path.write_bytes(content)
    assert refusal(path) == "LIB: is not Liberty: expected a text file that begins with library (NAME) {"


def test_cut_off_file_is_refused(cut_library):
    path = cut_library("INV_X1", "DFF_X1")
    path.write_text(path.read_text()[:-2000])
    assert refusal(path) == "LIB: is not Liberty: expected library (NAME) { cells } with its braces closed"


def test_library_without_needed_cells_is_refused(cut_library):
    assert refusal(cut_library("INV_X1", "NAND2_X1")) == (
        "LIB: library cut has 2 cells; expected a flip-flop among them"
    )
    assert refusal(cut_library("NAND2_X1", "DFF_X1")) == (
        "LIB: library cut has 2 cells; expected a timed inverter among them"
    )


def test_the_default_library_has_its_node():
    with pytest.raises(UserError, match=r"^node_nm must be 45 for the default library, not 7\.0$"):
        load_liberty(None, node_nm=7.0)
    assert load_liberty(None, node_nm=45.0).node_nm == 45.0


def test_bad_number_and_node_are_refused(cut_library):
    path = cut_library("INV_X1", "DFF_X1")
    assert refusal(path, node_nm=-7.0) == "node_nm must be 0.1 to 10000, not -7.0"
    path.write_text(re.sub(r"(\barea\s*:\s*)[\d.]+", r"\1large", path.read_text(), count=1))
    assert refusal(path) == "LIB: area must be a number, not 'large'"
