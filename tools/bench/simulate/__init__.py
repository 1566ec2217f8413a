"""The simulator: the real scheduler and clients on a clock that jumps. It knows no model, no server and no network."""
