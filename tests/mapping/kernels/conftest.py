"""What every kernel's Program must be as an instruction stream."""

import shutil
from collections.abc import Callable

import pytest

from lanewise.config import MachineConfig
from lanewise.isa.encoding import decode
from lanewise.isa.legality import check_legal
from lanewise.mapping.assemble import CUSTOM_1, listing, words
from lanewise.sim.program import Program
from lanewise.verify.assembler import TOOLS, assemble


@pytest.fixture
def check_stream() -> Callable[[Program, MachineConfig], None]:
    """``check_stream(program, config)``: every word is legal where it stands; the GNU assembler makes the same words of the listing."""

    def check(program: Program, config: MachineConfig) -> None:
        vtype, stream = None, words(program, config)
        for word in stream:
            if word & 0x7F == CUSTOM_1:
                continue
            decoded = decode(word)
            if decoded.vtype is not None:
                vtype = decoded.vtype
                continue
            assert vtype is not None
            check_legal(
                decoded.operation, vtype, vd=decoded.vd, vs2=decoded.vs2, vs1=decoded.vs1, vm=decoded.vm
            )
        if not all(map(shutil.which, TOOLS)):
            pytest.skip(f"needs {' and '.join(TOOLS)}")
        assert assemble(listing(program, config)) == stream

    return check
