"""lanewise: from a real network to a speedup and area report of a vector unit with Flex-SFU and INT4 MACs."""

__version__ = "0.1.0"
