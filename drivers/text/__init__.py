"""Text to strokes: character set, line wrapping, carriage position, overstrikes. Knows no line and no time."""
