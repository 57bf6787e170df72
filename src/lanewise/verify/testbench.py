"""The side of a bench that lives in the simulation: clock, streams with stalls, counted comparisons."""

import dataclasses
import json
import os
import random
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import current_task
from cocotb.triggers import RisingEdge

from lanewise.verify.drivers import Driver, Port, Receiver, Sender, Transfers

__all__ = ["CLOCK_NS", "Testbench", "Transfers", "pack", "rebuild", "unpack"]

CLOCK_NS = 2
_IDLE_LIMIT_CLK = 20_000


class Testbench:
    """A running design: ``tb = await Testbench.start(dut)`` starts the clock and resets.

    Attributes:
        config: The case's config, of the type that the bench module's component takes (:meth:`start` is told
            which).
        parameters: The case's parameters.
        rng: Seeded numpy generator of this test.
        clk: Rising edges since reset.
    """

    __test__ = False  # not a class of pytest tests

    def __init__(self, dut: Any, config: Any, parameters: Mapping[str, Any]) -> None:
        self.dut = dut
        self.config = config
        self.parameters = parameters
        self.seed = cocotb.RANDOM_SEED
        self.rng = np.random.default_rng(self.seed)
        self.clk = 0
        self._random = random.Random(self.seed)
        self._edge = RisingEdge(dut.clk)
        self._ports: dict[str, Port] = {}
        task = current_task()
        self._test = task.get_name().removeprefix("Test ")

    @classmethod
    async def start(cls, dut: Any, config: type) -> "Testbench":
        """Drive every input to zero, start the clock, hold reset for two clocks."""
        case = json.loads((Path(os.environ["LANEWISE_RUN"]) / "case.json").read_text())
        tb = cls(dut, rebuild(config, case["config"]), case["parameters"])
        for name in case["inputs"]:
            if name not in ("clk", "rst"):
                tb.port(name).set(0)
        dut.rst.value = 1
        Clock(dut.clk, CLOCK_NS, unit="ns").start(start_high=False)
        await tb.wait(2)
        dut.rst.value = 0
        await tb.wait(1)
        tb.clk = 0
        return tb

    def port(self, name: str) -> Port:
        """The top-level port, such as ``i__payload``."""
        if name not in self._ports:
            self._ports[name] = Port(getattr(self.dut, name))
        return self._ports[name]

    async def wait(self, clocks: int) -> None:
        """Let rising edges pass."""
        for _ in range(clocks):
            await self._edge
            self.clk += 1

    async def reset(self) -> None:
        """Hold reset for a clock, and let another pass: ports then have the values from after it."""
        self.dut.rst.value = 1
        await self.wait(1)
        self.dut.rst.value = 0
        await self.wait(1)

    async def exchange(
        self, send: Mapping[str, Sequence[int]], receive: Mapping[str, int], *,
        p_stall: float | Mapping[str, float] = 0.0, extra_clk: int = 4,
    ) -> dict[str, Transfers]:  # fmt: skip
        """Send words over input streams and receive over output streams, all at once, one step a clock.

        Args:
            send: Payloads for each input stream, as unsigned ints (element 0 in the low bits).
            receive: Number of transfers to take from each output stream.
            p_stall: Probability, each clock, that a sender has nothing to offer or a receiver is not ready;
                one number or one a stream. At 0 both always are.
            extra_clk: Clocks to wait afterwards, ready, for words that should not come.

        Returns:
            Transfers of each stream by name.

        Raises:
            AssertionError: An output drops ``valid`` or changes its payload before it is taken, delivers more
                than expected, or nothing moves for a long time.
        """
        chance = self._random.random
        senders = [Sender(self.port, name, words) for name, words in send.items()]
        receivers = [Receiver(self.port, name, count) for name, count in receive.items()]
        for driver in (*senders, *receivers):
            driver.p_stall = p_stall if isinstance(p_stall, float | int) else p_stall.get(driver.name, 0.0)
            driver.offer(chance() < driver.p_stall)
        waiting: list[Driver] = [*senders, *receivers]
        idle = 0
        while waiting:
            await self._edge
            self.clk += 1
            moved = False
            for driver in waiting:
                moved |= driver.step(self.clk, driver.p_stall > 0 and chance() < driver.p_stall)
            idle = 0 if moved else idle + 1
            if moved:
                waiting = [driver for driver in waiting if not driver.done]
            elif idle > _IDLE_LIMIT_CLK:
                left = {driver.name: driver.left for driver in waiting}
                raise AssertionError(
                    f"nothing moved for {idle} clocks; still waiting: {left}; seed {self.seed}"
                )
        for _ in range(extra_clk if receivers else 0):
            for receiver in receivers:
                receiver.ready.set(1)
            await self._edge
            self.clk += 1
            for receiver in receivers:
                assert not receiver.valid.get(), (
                    f"{receiver.name}: more than {receiver.count} words; seed {self.seed}"
                )
        for receiver in receivers:
            receiver.ready.set(0)
        return {
            driver.name: Transfers(words=driver.words, clocks=driver.clocks)
            for driver in (*senders, *receivers)
        }

    def check_values(self, actual: Any, expected: Any, what: str = "values") -> None:
        """Compare two arrays element by element and count them.

        Raises:
            AssertionError: They differ in shape or in an element; the first one is named.
        """
        a, e = np.asarray(actual), np.asarray(expected)
        assert a.shape == e.shape, f"{what}: shape {a.shape}, expected {e.shape}; seed {self.seed}"
        wrong = np.argwhere(a != e)
        if len(wrong):
            at = tuple(int(k) for k in wrong[0])
            raise AssertionError(
                f"{what}: {len(wrong)} of {a.size} differ, "
                f"first at {at}: {a[at]!r}, expected {e[at]!r}; seed {self.seed}"
            )
        self._count(values=a.size, clocks=0)

    def check_clocks(self, actual: Any, expected: Any, what: str = "clocks") -> None:
        """Compare clock counts (a number or a list) with what the simulator says, and count them.

        Raises:
            AssertionError: One differs.
        """
        a, e = np.atleast_1d(np.asarray(actual)), np.atleast_1d(np.asarray(expected))
        assert np.array_equal(a, e), f"{what}: RTL {actual}, simulator {expected}; seed {self.seed}"
        self._count(values=0, clocks=a.size)

    def count_clocks(self, clocks: int) -> None:
        """Count clocks of a run in which every event was compared."""
        self._count(values=0, clocks=clocks)

    def _count(self, *, values: int, clocks: int) -> None:
        line = json.dumps({"test": self._test, "values": int(values), "clocks": int(clocks)})
        with (Path(os.environ["LANEWISE_RUN"]) / "compared.jsonl").open("a") as stream:
            stream.write(line + "\n")


def pack(elements: Any, bits: int) -> int:
    """Signed or unsigned elements as one word, element 0 in the low bits.

    >>> hex(pack([-1, 2, -8], 4))
    '0x82f'
    """
    mask = (1 << bits) - 1
    digits = "".join(format(int(element) & mask, f"0{bits}b") for element in reversed(list(elements)))
    return int(digits, 2)


def unpack(word: int, bits: int, count: int, *, signed: bool) -> list[int]:
    """The elements of a word, element 0 from the low bits.

    >>> unpack(0x82F, 4, 3, signed=True)
    [-1, 2, -8]
    """
    mask, half = (1 << bits) - 1, 1 << (bits - 1)
    values = [(word >> (bits * k)) & mask for k in range(count)]
    return [value - 2 * half if signed and value >= half else value for value in values]


def rebuild(kind: type, fields: Mapping[str, Any]) -> Any:
    """A config dataclass, nested ones included, from its ``dataclasses.asdict``."""
    hints = typing.get_type_hints(kind)
    return kind(**{
        name: rebuild(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
        for name, value in fields.items()
    })  # fmt: skip
