"""Strokes to the line: pacing, the transmit queue, the motor. Knows no keys."""
