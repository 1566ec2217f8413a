"""Puts asr33's files into a system and takes them away again. It knows no model and opens no line."""
