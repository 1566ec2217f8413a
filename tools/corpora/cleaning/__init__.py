"""Records as they were found -> records to learn from, in named steps, each counted. Pure; all of it streams."""

from tools.corpora.cleaning.counts import Count, Counts
from tools.corpora.cleaning.options import CleaningOptions
from tools.corpora.cleaning.steps import STEPS, cleaned

__all__ = ["STEPS", "CleaningOptions", "Count", "Counts", "cleaned"]
