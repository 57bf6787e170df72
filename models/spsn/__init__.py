"""SPSN: stochastic spiking neurons without a reset, whose state is a linear filter (Yarga and Wood 2023, arXiv 2306.12666)."""
