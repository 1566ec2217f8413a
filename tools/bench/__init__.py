"""Benchmarks: speed of one sequence beside peers, start-up time, fidelity. It knows engines only through runners."""
