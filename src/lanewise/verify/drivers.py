"""Both sides of a ready/valid stream, driven one clock at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


class Port:
    """A top-level port as a Python int of any width, past cocotb's value types, which are slow."""

    __slots__ = ("_handle", "_narrow", "mask", "width")

    def __init__(self, handle: Any) -> None:
        self._handle = handle._handle
        self.width = len(handle)
        self.mask = (1 << self.width) - 1
        self._narrow = self.width < 32

    def get(self) -> int:
        """The value now, unsigned."""
        return int(self._handle.get_signal_val_binstr(), 2)

    def set(self, value: int) -> None:
        """Drive the value (unsigned) from now on."""
        if self._narrow:
            self._handle.set_signal_val_int(0, value)
        else:
            self._handle.set_signal_val_binstr(0, format(value, f"0{self.width}b"))


@dataclass(frozen=True, kw_only=True)
class Transfers:
    """What went over one stream: words, and the clock edge of each."""

    words: list[int]
    clocks: list[int]
    """Number of the rising edge at which the transfer happened; differences of these are latencies."""


class Driver:
    """One side of a stream; ``step`` runs at each rising edge and sees the values from before it."""

    def __init__(self, port: Callable[[str], Port], name: str) -> None:
        self.name = name
        self.valid, self.ready = port(f"{name}__valid"), port(f"{name}__ready")
        self.payload = port(f"{name}__payload")
        self.words: list[int] = []
        self.clocks: list[int] = []
        self.p_stall = 0.0

    @property
    def left(self) -> int:
        """Transfers still to come."""
        raise NotImplementedError

    @property
    def done(self) -> bool:
        """Whether every transfer has happened."""
        return self.left == 0

    def offer(self, stall: bool) -> None:
        """Drive this side of the stream for the next edge."""
        raise NotImplementedError

    def step(self, clk: int, stall: bool) -> bool:
        """Account for the edge ``clk``, drive the next one; whether a word was transferred."""
        raise NotImplementedError


class Sender(Driver):
    def __init__(self, port: Callable[[str], Port], name: str, words: Sequence[int]) -> None:
        super().__init__(port, name)
        self.todo = [int(word) for word in words]
        for word in self.todo:
            if word & ~self.payload.mask:
                raise ValueError(f"{name}: {word:#x} must fit {self.payload.width} bits, unsigned")
        self.offered = False

    @property
    def left(self) -> int:
        return len(self.todo) - len(self.words)

    def offer(self, stall: bool) -> None:
        if self.done or stall:
            self.valid.set(0)
            self.offered = False
        else:
            self.valid.set(1)
            self.payload.set(self.todo[len(self.words)])
            self.offered = True

    def step(self, clk: int, stall: bool) -> bool:
        if not self.offered:
            if not self.done:
                self.offer(stall)
            return False
        if not self.ready.get():
            return False
        self.words.append(self.todo[len(self.words)])
        self.clocks.append(clk)
        self.offer(stall)
        return True


class Receiver(Driver):
    def __init__(self, port: Callable[[str], Port], name: str, count: int) -> None:
        super().__init__(port, name)
        self.count = count
        self.taking = False
        self.refused: int | None = None

    @property
    def left(self) -> int:
        return self.count - len(self.words)

    def offer(self, stall: bool) -> None:
        self.taking = not stall
        self.ready.set(int(self.taking))

    def step(self, clk: int, stall: bool) -> bool:
        moved = False
        if self.valid.get():
            word = self.payload.get()
            assert self.refused in (None, word), (
                f"{self.name}: payload changed before it was taken at clock {clk}"
            )
            self.refused = word
            if self.taking:
                self.words.append(word)
                self.clocks.append(clk)
                self.refused = None
                moved = True
        else:
            assert self.refused is None, f"{self.name}: valid fell before the word was taken at clock {clk}"
        if self.done:
            self.ready.set(0)
        elif stall == self.taking:
            self.offer(stall)
        return moved
