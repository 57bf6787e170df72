"""AXI4 for a manager of one ID: signals that are not there have their default (protection and cache attributes, locks, quality of service)."""

from amaranth.lib.wiring import In, Member, Out

from lanewise.rtl.dma_walker import EXTERNAL_BITS

ID_BITS = 1


def read_members(count: int) -> dict[str, Member]:
    """Read address and read data channels of a bus of ``count`` bytes."""
    return {
        **_address_members("ar"),
        "rid": In(ID_BITS), "rdata": In(8 * count), "rresp": In(2), "rlast": In(1), "rvalid": In(1), "rready": Out(1),
    }  # fmt: skip


def write_members(count: int) -> dict[str, Member]:
    """Write address, write data and write response channels."""
    return {
        **_address_members("aw"),
        "wdata": Out(8 * count), "wstrb": Out(count), "wlast": Out(1), "wvalid": Out(1), "wready": In(1),
        "bid": In(ID_BITS), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
    }  # fmt: skip


def _address_members(channel: str) -> dict[str, Member]:
    return {
        f"{channel}id": Out(ID_BITS), f"{channel}addr": Out(EXTERNAL_BITS), f"{channel}len": Out(8),
        f"{channel}size": Out(3), f"{channel}burst": Out(2), f"{channel}valid": Out(1), f"{channel}ready": In(1),
    }  # fmt: skip
