"""Inner loops of the calibration: a C kernel where a compiler is at hand, and plain numpy with the same results."""
