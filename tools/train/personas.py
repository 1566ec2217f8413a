"""Who speaks in a text: the names that stand in tags before what is said, `Name: text`, by how often they do.

Data in, data out; it knows nothing of models.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

TAG = re.compile(r"([^\W\d_][^:\n]{0,39}): ?(?=\S)")
MAX_PERSONAS = 200  # names: at the tag of each an answer of another ends, and each is looked for behind every token
MIN_TAGGED_SHARE = 0.5  # of a document's lines have a tag, or it is prose that has a colon now and then


def count_personas(documents: Iterable[str]) -> dict[str, int]:
    """The names and how many lines each has, the most talkative first; only of documents that are dialogue."""
    counts: Counter[str] = Counter()
    for document in documents:
        # What is indented goes on with the message above it.
        lines = [line for line in document.splitlines() if line.strip() and not line[0].isspace()]
        names = [match[1] for line in lines if (match := TAG.match(line))]
        if len(names) > 1 and len(names) >= MIN_TAGGED_SHARE * len(lines):
            counts.update(names)
    # By name where the counts are even, so that the same text has the same list.
    often = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {name: count for name, count in often[:MAX_PERSONAS] if count > 1}
