"""Writes a recorded sheet in the formats of other programs. It knows no log, no line and no model."""
