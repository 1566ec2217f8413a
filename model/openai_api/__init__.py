"""OpenAI's completion protocol, both directions, for client and server: JSON bodies, events and their bytes.

Knows no HTTP, no clock and no model.
"""
