"""A network with its values on the core: parameters quantised and laid out, activations calibrated, every task bound to tensors of external memory."""
