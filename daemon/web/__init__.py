"""The live page: a browser shows the paper while the machine prints it, and plays kept sessions. Knows no model."""
