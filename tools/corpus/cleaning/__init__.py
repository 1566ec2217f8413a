"""Records as they were found -> records to learn from, in named steps, each counted. Pure; all of it streams."""

from tools.corpus.cleaning.counts import CleaningCounts, StepCount
from tools.corpus.cleaning.options import CleaningOptions
from tools.corpus.cleaning.steps import STEPS, clean_records

__all__ = ["STEPS", "CleaningCounts", "CleaningOptions", "StepCount", "clean_records"]
