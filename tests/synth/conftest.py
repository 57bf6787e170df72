"""A small design whose area is known from the library, and small libraries cut from the real one."""

import re
from pathlib import Path

import pytest

from lanewise.synth.liberty import nangate


@pytest.fixture(scope="session")
def nangate_text() -> str:
    return nangate().read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def cut_library(nangate_text: str, tmp_path_factory: pytest.TempPathFactory):
    """A function that writes a library of the named Nangate cells alone, with other areas if wanted."""
    pieces = re.split(r"^  cell \(", nangate_text, flags=re.MULTILINE)
    cells = {piece[: piece.index(")")]: piece for piece in pieces[1:]}
    cells[list(cells)[-1]] = cells[list(cells)[-1]].rstrip().removesuffix("}")

    def cut(*names: str, area_um2: dict[str, float] | None = None) -> Path:
        text = pieces[0].replace("library (NangateOpenCellLibrary)", "library (cut)")
        for name in names:
            cell = cells[name]
            if area_um2 and name in area_um2:
                cell = re.sub(r"(\barea\s*:\s*)[\d.]+", rf"\g<1>{area_um2[name]}", cell, count=1)
            text += f"  cell ({cell}"
        path = tmp_path_factory.mktemp("library") / "cut.lib"
        path.write_text(text + "}\n", encoding="utf-8")
        return path

    return cut


@pytest.fixture(scope="session")
def cache(synthesis_cache: Path) -> Path:
    """One cache for all tests of the folder: no design is synthesised twice."""
    return synthesis_cache
