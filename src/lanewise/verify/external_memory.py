"""What stands at the other end of DMA's bus: an ideal memory, and a witness of the protocol."""

from collections import deque
from typing import Any

from lanewise.verify.testbench import Testbench

PREFIX = "m_axi_"


class Bus:
    """The bus's signals by name."""

    def __init__(self, tb: Testbench) -> None:
        self._tb = tb
        self.count = tb.config.dma.bytes_per_clk

    def get(self, name: str) -> int:
        """The value of this clock, after its edge."""
        return self._tb.port(PREFIX + name).get()

    def set(self, **values: int) -> None:
        """Drive from now on."""
        for name, value in values.items():
            self._tb.port(PREFIX + name).set(value)


class IdealMemory:
    """Takes everything at once; the first beat ``latency_clk`` clocks after its request, then a beat a clock; responses likewise.

    A burst that reads or writes at ``error_at`` is answered with ``response`` and the ID ``identity``. Reads end without a last beat unless ``lasts``.
    """

    def __init__(self, tb: Testbench, contents: bytearray, latency_clk: int) -> None:
        self._bus, self._latency = Bus(tb), latency_clk
        self.contents = contents
        self.error_at = -1
        self.response, self.identity, self.lasts = 2, 0, True
        self._clock = 0
        self._requests: deque[tuple[int, int, bool]] = deque()
        """Clock of a beat's data, its address, whether it is the last."""
        self._addresses: deque[int] = deque()
        self._written = 0
        self._responses: deque[tuple[int, int]] = deque()
        self._bus.set(arready=1, awready=1, wready=1)

    @property
    def idle(self) -> bool:
        """Whether every request and every write has been answered."""
        return not (self._requests or self._addresses or self._responses)

    def step(self) -> None:
        """An edge: account for the clock before it, drive the one behind it."""
        bus, count, size = self._bus, self._bus.count, len(self.contents)
        if bus.get("rvalid"):
            assert bus.get("rready"), "data must be taken at once"
        if bus.get("arvalid"):
            first = bus.get("araddr")
            last = bus.get("arlen")
            for beat in range(last + 1):
                after = self._requests[-1][0] + 1 if self._requests else 0
                clock = max(self._clock + self._latency, after)
                self._requests.append((clock, first + beat * count, beat == last))
        if bus.get("awvalid"):
            self._addresses.append(bus.get("awaddr"))
        if bus.get("wvalid"):
            place = self._addresses[0] + self._written * count
            data, strobes = bus.get("wdata").to_bytes(count, "little"), bus.get("wstrb")
            for k in range(count):
                if strobes >> k & 1:
                    self.contents[(place + k) % size] = data[k]
            self._written += 1
            if bus.get("wlast"):
                self._responses.append((self._clock + self._latency, self._addresses.popleft()))
                self._written = 0
        self._clock += 1
        self._drive()

    def _drive(self) -> None:
        bus, count, size = self._bus, self._bus.count, len(self.contents)
        bus.set(rvalid=0, bvalid=0)
        if self._requests and self._requests[0][0] == self._clock:
            _, place, last = self._requests.popleft()
            word = bytes(self.contents[(place + k) % size] for k in range(count))
            bus.set(
                rvalid=1, rlast=last and self.lasts, rdata=int.from_bytes(word, "little"), **self._answer("r", place)
            )  # fmt: skip
        if self._responses and self._responses[0][0] == self._clock:
            bus.set(bvalid=1, **self._answer("b", self._responses.popleft()[1]))

    def _answer(self, channel: str, place: int) -> dict[str, int]:
        wrong = place == self.error_at
        return {f"{channel}resp": self.response * wrong, f"{channel}id": self.identity * wrong}


class Protocol:
    """AXI4's rules for a manager of one ID: stable until taken, whole aligned words, 4 KiB, last beats, responses owed."""

    def __init__(self, tb: Testbench) -> None:
        self._bus = Bus(tb)
        self._held: dict[str, Any] = {}
        self._lengths: deque[int] = deque()
        self._beats: deque[bool] = deque()
        self.bursts = 0
        self.outstanding_reads = 0
        self.most_reads = 0

    def step(self) -> None:
        """Account for the clock before this edge.

        Raises:
            AssertionError: A rule is broken.
        """
        for channel, fields in (
            ("ar", ("addr", "len", "size", "burst", "id")), ("aw", ("addr", "len", "size", "burst", "id")),
            ("w", ("data", "strb", "last")),
        ):  # fmt: skip
            self._channel(channel, fields)
        bus = self._bus
        if bus.get("rvalid") and bus.get("rready"):
            self.outstanding_reads -= bus.get("rlast")
            assert self.outstanding_reads >= 0, "data without a request"
        while self._lengths and len(self._beats) > self._lengths[0]:
            beats = [self._beats.popleft() for _ in range(self._lengths.popleft() + 1)]
            assert beats == [False] * (len(beats) - 1) + [True], "last beat of a write"

    def _channel(self, channel: str, fields: tuple[str, ...]) -> None:
        bus = self._bus
        valid, ready = bus.get(f"{channel}valid"), bus.get(f"{channel}ready")
        offered = {name: bus.get(channel + name) for name in fields} if valid else None
        before = self._held.get(channel)
        assert before is None or before == offered, (
            f"{channel}: {offered} after {before}, which was not taken"
        )
        self._held[channel] = offered if not ready else None
        if not (valid and ready):
            return
        assert offered is not None
        if channel == "w":
            self._beats.append(bool(offered["last"]))
            assert offered["strb"], "a beat of nothing"
            return
        size = (offered["len"] + 1) * bus.count
        assert offered["burst"] == 1, "incrementing"
        assert 1 << offered["size"] == bus.count, "whole words"
        assert offered["addr"] % bus.count == 0, "aligned"
        assert offered["addr"] // 4096 == (offered["addr"] + size - 1) // 4096, "within 4 KiB"
        self.bursts += 1
        if channel == "ar":
            self.outstanding_reads += 1
            self.most_reads = max(self.most_reads, self.outstanding_reads)
        else:
            self._lengths.append(offered["len"])

    def check_idle(self) -> None:
        """Nothing is left in mid burst.

        Raises:
            AssertionError: Something is.
        """
        assert not self._beats, "beats without an address"
        assert not self._lengths, "an address without its beats"
        assert self.outstanding_reads == 0, "a request without its data"
