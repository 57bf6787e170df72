"""Generating-function maps on the core: the step in FP32 on the vector unit, the gradient network on the matrix unit."""
