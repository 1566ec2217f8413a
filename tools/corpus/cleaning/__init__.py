"""Cleans records for training in named steps, and counts what each step does. Pure; it knows no file."""

from tools.corpus.cleaning.counts import CleaningCounts, StepCount
from tools.corpus.cleaning.steps import STEPS, CleaningOptions, clean_records

__all__ = ["STEPS", "CleaningCounts", "CleaningOptions", "StepCount", "clean_records"]
