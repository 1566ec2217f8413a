"""The daemon: one machine's line, one model, one conversation. It does not know the commands that start it."""
