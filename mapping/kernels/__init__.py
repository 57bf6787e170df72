"""Kernels: Programs for the core, one family a file."""
