"""Imports texts from files and exports into corpora, cleans them and reports on them. Knows no training."""
