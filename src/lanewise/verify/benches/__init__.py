"""Testbenches: one module a block, each with cocotb tests and a ``BENCH``."""
