"""How one server stands with us: whether it answers, and when it is asked again. Pure; the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import ModelError, ServerLost

FIRST_S, MOST_S = 0.5, 30.0  # between two tries
AT_ONCE_S = 0.2
SHARE = 0.5  # of the wait that a server asks for, at most so much more: whom it sends away together comes back apart


@dataclass(slots=True)
class Standing:
    """`down`: it is asked in the background, and no reader waits for that. `refused`: asking again mends nothing."""

    failures: int = 0
    not_before: float = 0.0
    down: bool = False
    since: float | None = None  # when it last stopped answering
    refused: ModelError | None = None
    error: ServerLost | None = None

    def answered(self) -> None:
        self.failures, self.not_before, self.down, self.since, self.error = 0, 0.0, False, None, None

    def lost(self, error: ServerLost, now: float, chance: float) -> None:
        """It broke off, or did not answer. One that worked is asked again at once; else ever more seldom.

        `chance`, from 0 to 1, keeps many from coming back in the same moment.
        """
        self.failures += 1
        self.error = error
        self.since = now if self.since is None else self.since
        wait = AT_ONCE_S * chance
        if self.failures > 1:
            wait = min(MOST_S, FIRST_S * 2.0 ** min(self.failures - 2, 16)) * (0.5 + 0.5 * chance)
        self.down = self.failures > 1 or error.again_s > 0
        self.not_before = now + max(wait, error.again_s + chance * min(MOST_S, SHARE * error.again_s))
