"""Spiking layers on the core: step by step with a reset (LIF), and without one (SPSN)."""
