"""Shared parts of the commands: output, progress, tables, prompts, signals, options. It does not know the commands."""
