"""The driver of a Teletype Model 33: text to paper, keys to lines, tape, and a virtual machine to test against.

Knows no model, no conversation, no command line.
"""
