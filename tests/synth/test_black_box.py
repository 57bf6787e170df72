"""Black boxes: a memory without contents, and a component whose parts are mapped one by one."""

import pytest
from amaranth.hdl import Elaboratable, Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from lanewise.rtl.verilog import emit_verilog
from lanewise.synth import Synthesiser, load_liberty
from lanewise.synth.black_box import Opened, black_box

from .designs import Accumulate, Delay, Nest, Outer


@pytest.fixture(scope="module")
def run(cache):
    return Synthesiser(liberty=load_liberty(), clock_ns=2.0, cache=cache)


class Store(wiring.Component):
    """16 words of 8 bits."""

    address: In(4)
    enable: In(1)
    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.storage = storage = memory.Memory(shape=8, depth=16, init=[])
        write, read = storage.write_port(), storage.read_port()
        m.d.comb += [
            write.addr.eq(self.address), write.en.eq(self.enable), write.data.eq(self.i), read.addr.eq(self.address),
            read.en.eq(1), self.o.eq(read.data),
        ]  # fmt: skip
        return m


class StoreAndDelay(wiring.Component):
    """A store, and what it gives two clocks later."""

    address: In(4)
    enable: In(1)
    i: In(8)
    o: Out(8)

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        m.submodules.store = store = Store()
        m.submodules.delay = delay = Delay(8, 2)
        m.d.comb += [
            store.address.eq(self.address), store.enable.eq(self.enable), store.i.eq(self.i), delay.i.eq(store.o),
            self.o.eq(delay.o),
        ]  # fmt: skip
        return m


def test_glue_and_parts_are_the_whole(run):
    opened = Opened(Nest())
    parts = dict(opened.parts)
    assert {name: type(part) for name, part in parts.items()} == {
        **{f"delay_{k}": Delay for k in range(4)}, "outer": Outer,
    }  # fmt: skip
    glue = run.verilog(opened.glue("nest"), "nest")
    assert [block.path for block in glue.blocks] == ["nest"]
    areas = [run(part, "part").area_um2 for part in parts.values()]
    assert min(areas) > 0
    assert glue.area_um2 + sum(areas) == pytest.approx(run(Nest(), "whole").area_um2, abs=0.01)


def test_a_memory_as_black_box_has_no_area(run):
    text = emit_verilog(StoreAndDelay(), "top")
    whole = run.verilog(text, "top")
    assert whole.block("store").flip_flops >= 16 * 8
    hollow = run.verilog(black_box(text, "top_store"), "top")
    assert [block.path for block in hollow.blocks] == ["top", "top/delay"]
    assert hollow.area_um2 == pytest.approx(whole.area_um2 - whole.block("store").area_um2, abs=0.01)


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"^module must be one of the text's, not 'top_stor'$"):
        black_box(emit_verilog(StoreAndDelay(), "top"), "top_stor")


def test_a_component_without_parts_is_all_glue(run):
    opened = Opened(Accumulate(4))
    assert opened.parts == {}
    assert run.verilog(opened.glue("all"), "all").area_um2 == run(Accumulate(4), "other").area_um2
