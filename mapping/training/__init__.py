"""One training step of a network: forward, backward and the optimiser, as tasks."""
