"""The core: vector unit, matrix stream, scratchpad, DMA, and the tags that keep them in step."""

from collections.abc import Sequence

from amaranth.hdl import C, Cat, Elaboratable, Module, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from lanewise.config import MachineConfig
from lanewise.rtl.axi import read_members, write_members
from lanewise.rtl.dma import AXI_PREFIX, Dma
from lanewise.rtl.dma_walker import descriptor_layout, queued_commands
from lanewise.rtl.matrix_stream import (
    MATRIX_STROBES,
    MatrixStream,
    matrix_clients,
    matrix_command_layout,
    queued_tiles,
)
from lanewise.rtl.scratchpad import Scratchpad
from lanewise.rtl.tags import REQUEST, TAGS, Tags
from lanewise.rtl.vector_sequencer import INSTRUCTION
from lanewise.rtl.vector_unit import LANDINGS, VectorUnit
from lanewise.rtl.weight_generator import WeightGenerator, generate_layout, generator_client

_ON_THE_WAY = 4
"""DMA commands beyond those that its own queue holds: asked for, walked, and two whose last bytes are being written."""
ROLES = ("left", "right", "constants", "scales", "results")
"""What a matrix command accesses, in the order of its accesses in the Program: all are read but the last, which is written."""


def command_layout(config: MachineConfig) -> data.StructLayout:
    """A DMA command and what it waits for."""
    return data.StructLayout({"descriptor": descriptor_layout(config), "request": REQUEST})


def generate_command_layout(config: MachineConfig) -> data.StructLayout:
    """A command of the weight generator and what it waits for."""
    return data.StructLayout({"descriptor": generate_layout(config), "request": REQUEST})


def matrix_layout(config: MachineConfig) -> data.StructLayout:
    """A matrix command and what each of its :data:`ROLES` waits for. Every command has both operands; with ``operands.last`` (``mm.tile``) it has
    results, with ``scale.reload`` constants then, with ``own_scales`` scales. What a command has not waits for nothing."""
    requests = data.StructLayout(dict.fromkeys(ROLES, REQUEST))
    return data.StructLayout({"command": matrix_command_layout(config), "requests": requests})


class Core(wiring.Component):
    """The streams ``vector``, ``load``, ``store``; if the array takes INT8 in passes, ``matrix``; if there is a weight generator, ``generate``; of
    ``docs/core.md``.

    An instruction that is accepted can start in the next clock. Back-pressure: each stream's ready/valid. Golden models:
    :class:`lanewise.models.vector_machine.VectorMachine`, :class:`lanewise.models.matrix_commands.MatrixCommands` and copies of bytes;
    clocks: :mod:`lanewise.sim.engine`.

    Members
    -------
    vector : ``In(stream.Signature(INSTRUCTION))``
    load, store : ``In(stream.Signature(command_layout(config)))``
    matrix : ``In(stream.Signature(matrix_layout(config)))``
        Not there, and no ``seed`` and ``matrix_done`` either, where ``config.matrix.splits`` is false.
    seed : ``In(stream.Signature(...))``
        Random states, as :class:`~lanewise.rtl.matrix_stream.MatrixStream` takes them.
    matrix_done : ``Out(len(MATRIX_STROBES))``
        The matrix stream's strobes.
    generate : ``In(stream.Signature(generate_command_layout(config)))``
        Not there, and no ``generated`` either, without ``config.weight_generator.enabled``.
    generated : ``Out(1)``
        As ``finished`` of :class:`~lanewise.rtl.weight_generator.WeightGenerator`.
    m_axi_* : AXI4 to external memory.
    started : ``Out(4)``, with a weight generator ``Out(5)``
        An instruction of ``vector``, ``load``, ``store``, ``matrix``, ``generate`` starts in this clock.
    landed : ``Out(len(LANDINGS))``
        For each unit of the vector unit, see :class:`~lanewise.rtl.vector_unit.VectorUnit`.
    load_free : ``Out(1)``
        The load engine could take a command.
    load_finished, store_read, store_finished : ``Out(1)``
        As of :class:`~lanewise.rtl.dma.Dma`.
    failed : ``Out(2)``
        Since reset: a word was no instruction of the table; external memory answered with an error.
    """

    vector: stream.Interface
    load: stream.Interface
    store: stream.Interface
    matrix: stream.Interface
    seed: stream.Interface
    generate: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self._matrix_stream = MatrixStream(config) if config.matrix.splits else None
        bus = read_members(config.dma.bytes_per_clk) | write_members(config.dma.bytes_per_clk)
        super().__init__({
            "vector": In(stream.Signature(INSTRUCTION)),
            "load": In(stream.Signature(command_layout(config))),
            "store": In(stream.Signature(command_layout(config))),
            **self._matrix_members(),
            **self._generator_members(),
            **{f"{AXI_PREFIX}_{name}": member for name, member in bus.items()},
            "started": Out(4 + config.weight_generator.enabled), "landed": Out(len(LANDINGS)), "load_free": Out(1), "load_finished": Out(1),
            "store_read": Out(1), "store_finished": Out(1), "failed": Out(2),
        })  # fmt: skip

    def _matrix_members(self) -> dict[str, wiring.Member]:
        if self._matrix_stream is None:
            return {}
        return {
            "matrix": In(stream.Signature(matrix_layout(self.config))),
            "seed": In(self._matrix_stream.seed.signature.flip()),
            "matrix_done": Out(len(MATRIX_STROBES)),
        }

    def _generator_members(self) -> dict[str, wiring.Member]:
        if not self.config.weight_generator.enabled:
            return {}
        return {"generate": In(stream.Signature(generate_command_layout(self.config))), "generated": Out(1)}

    def elaborate(self, platform: object) -> Elaboratable:  # noqa: ARG002
        m = Module()
        config = self.config
        further = matrix_clients(config) if self._matrix_stream is not None else ()
        roles = len(ROLES) if self._matrix_stream is not None else 0
        generates = config.weight_generator.enabled
        m.submodules.vector_unit = unit = VectorUnit(config)
        m.submodules.scratchpad = scratchpad = Scratchpad(
            config, (*further, generator_client(config)) if generates else further
        )
        m.submodules.dma = dma = Dma(config)
        m.submodules.tags = tags = Tags(askers=3 + roles + generates, reporters=4 + roles + generates)
        connect(m, unit.i, flipped(self.vector))
        connect(m, unit.read, scratchpad.vector_read)
        connect(m, unit.write, scratchpad.vector_write)
        connect(m, dma.read, scratchpad.dma_read)
        connect(m, dma.write, scratchpad.dma_write)
        for name, member in (
            read_members(config.dma.bytes_per_clk) | write_members(config.dma.bytes_per_clk)
        ).items():
            inner, outer = getattr(dma, f"{AXI_PREFIX}_{name}"), getattr(self, f"{AXI_PREFIX}_{name}")
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        ask, done = tags.ask, tags.done
        m.d.comb += [
            ask[0].request.eq(unit.request),
            ask[0].writes.eq(unit.writes),
            unit.counted.eq(ask[0].counted),
            done[0].tag.eq(unit.read_tag),
            done[0].read.eq(unit.has_read),
            done[1].tag.eq(unit.write_tag),
            done[1].wrote.eq(unit.has_written),
            self.landed.eq(unit.landed),
            self.load_free.eq(dma.load.ready),
            self.load_finished.eq(dma.load_finished),
            self.store_read.eq(dma.store_read),
            self.store_finished.eq(dma.store_finished),
            self.failed.eq(Cat(unit.illegal, dma.failed)),
            ask[1].writes.eq(1),
            done[2].wrote.eq(dma.load_finished),
            done[3].read.eq(dma.store_read),
        ]
        load_starts = self._issue(m, "load", dma.load, ask[1], dma.load_finished, done[2].tag)
        store_starts = self._issue(m, "store", dma.store, ask[2], dma.store_read, done[3].tag)
        matrix_starts = Signal(name="matrix_starts")
        if self._matrix_stream is not None:
            m.submodules.matrix = matrix = self._matrix_stream
            for client in further:
                for port in (f"{client.name}_read", f"{client.name}_write"):
                    if port in matrix.signature.members:
                        connect(m, getattr(matrix, port), getattr(scratchpad, port))
            connect(m, flipped(self.seed), matrix.seed)
            m.d.comb += self.matrix_done.eq(Cat(getattr(matrix, name) for name in MATRIX_STROBES))
            m.d.comb += matrix_starts.eq(
                self._issue_matrix(m, matrix, list(ask)[3 : 3 + roles], list(done)[4 : 4 + roles])
            )
        starts = [unit.started, load_starts, store_starts, matrix_starts]
        if generates:
            m.submodules.generator = generator = WeightGenerator(config)
            connect(m, generator.generator_write, scratchpad.generator_write)
            asks, reports = ask[3 + roles], done[4 + roles]
            m.d.comb += [
                asks.writes.eq(1), reports.wrote.eq(generator.finished), self.generated.eq(generator.finished),
            ]  # fmt: skip
            starts.append(self._issue(m, "generate", generator.i, asks, generator.finished, reports.tag))
        m.d.comb += self.started.eq(Cat(*starts))
        return m

    def _issue_matrix(
        self, m: Module, matrix: MatrixStream, asks: Sequence[wiring.PureInterface], reports: Sequence[wiring.PureInterface]
    ) -> Value:  # fmt: skip
        """Hold the next command until the counts of all its roles are reached; report what those that have started read and write."""
        layout = matrix_layout(self.config)
        head, waiting = (
            Signal(layout, name="matrix_head", reset_less=True),
            Signal(name="matrix_waiting"),
        )
        command, ends, starts = head.command, head.command.operands.last, Signal(name="matrix_issued")
        has = {
            "left": C(1), "right": C(1), "constants": ends & command.scale.reload, "scales": ends & command.own_scales, "results": ends,
        }  # fmt: skip
        asked, reported = (
            dict(zip(ROLES, asks, strict=True)),
            dict(zip(ROLES, reports, strict=True)),
        )
        for role, ask in asked.items():
            m.d.comb += [ask.request.eq(head.requests[role]), ask.writes.eq(int(role == "results"))]
        reached = Cat(ask.counted | ~has[role] for role, ask in asked.items()).all()
        m.d.comb += [
            matrix.i.payload.eq(command),
            matrix.i.valid.eq(waiting & reached),
            starts.eq(matrix.i.valid & matrix.i.ready),
            self.matrix.ready.eq(~waiting | starts),
        ]
        with m.If(self.matrix.ready):
            m.d.sync += [waiting.eq(self.matrix.valid), head.eq(self.matrix.payload)]

        # Whose operands are read is the last that has started: the next one starts with its last read, or later.
        with m.If(starts):
            m.d.sync += [reported[role].tag.eq(head.requests[role].tag) for role in ("left", "right")]
        # A tile's scale_tags come and go with its entry in the stream's own queue, its result_tags go a clock after: so there is room.
        tag_bits, depth = (TAGS - 1).bit_length(), queued_tiles(self.config.matrix)
        m.submodules.scale_tags = scale_tags = fifo.SyncFIFO(width=2 * tag_bits + 1, depth=depth)
        m.submodules.result_tags = result_tags = fifo.SyncFIFO(width=tag_bits, depth=depth + 1)
        own = Signal(name="own_scales")
        m.d.comb += [
            scale_tags.w_data.eq(
                Cat(head.requests.constants.tag, head.requests.scales.tag, command.own_scales)
            ),
            result_tags.w_data.eq(head.requests.results.tag),
            scale_tags.w_en.eq(starts & ends),
            result_tags.w_en.eq(starts & ends),
            scale_tags.r_en.eq(matrix.scales_read),
            result_tags.r_en.eq(matrix.results_written),
            Cat(reported["constants"].tag, reported["scales"].tag, own).eq(scale_tags.r_data),
            reported["results"].tag.eq(result_tags.r_data),
            reported["left"].read.eq(matrix.operands_read),
            reported["right"].read.eq(matrix.operands_read),
            reported["constants"].read.eq(matrix.constants_read),
            reported["scales"].read.eq(matrix.scales_read & own),
            reported["results"].wrote.eq(matrix.results_written),
        ]
        return starts

    def _issue(
        self, m: Module, name: str, engine: stream.Interface, ask: wiring.PureInterface, finished: Signal, tag: Signal
    ) -> Signal:  # fmt: skip
        """Hold a stream's next command until its counts are reached; keep the tags of those that have started."""
        outer = getattr(self, name)
        head, waiting = (
            Signal(outer.payload.shape(), name=f"{name}_head", reset_less=True),
            Signal(name=f"{name}_waiting"),
        )
        starts = Signal(name=f"{name}_starts")
        depth = queued_commands(self.config) + _ON_THE_WAY
        m.submodules[f"{name}_tags"] = tags = fifo.SyncFIFO(width=(TAGS - 1).bit_length(), depth=depth)
        go = waiting & ask.counted & tags.w_rdy
        m.d.comb += [
            ask.request.eq(head.request),
            engine.valid.eq(go),
            engine.payload.eq(head.descriptor),
            starts.eq(go & engine.ready),
            outer.ready.eq(~waiting | starts),
            tags.w_data.eq(head.request.tag),
            tags.w_en.eq(starts),
            tags.r_en.eq(finished),
            tag.eq(tags.r_data),
        ]
        with m.If(outer.ready):
            m.d.sync += [waiting.eq(outer.valid), head.eq(outer.payload)]
        return starts
