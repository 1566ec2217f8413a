"""Generates text with one loaded model: sampling, token mask, context window, prefix cache. Knows no network."""
