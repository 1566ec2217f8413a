"""How one server stands with us: whether it answers, and when it is asked again. Pure; the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import ModelError, ServerLost

FIRST_RETRY_S, MAX_RETRY_S = 0.5, 30.0  # between two tries
IMMEDIATE_RETRY_S = 0.2
RETRY_AFTER_JITTER = (
    0.5  # of the wait that a server asks for, at most so much more: whom it sends away together comes back apart
)


@dataclass(slots=True)
class ServerHealth:
    """`down`: it is asked in the background, and no reader waits for that. `refused`: asking again mends nothing."""

    failures: int = 0
    retry_at: float = 0.0
    is_down: bool = False
    failing_since: float | None = None  # when it last stopped answering
    refusal: ModelError | None = None
    last_error: ServerLost | None = None

    def record_success(self) -> None:
        self.failures, self.retry_at, self.is_down, self.failing_since, self.last_error = 0, 0.0, False, None, None

    def record_failure(self, error: ServerLost, now: float, jitter: float) -> None:
        """It broke off, or did not answer. One that worked is asked again at once; else ever more seldom.

        `chance`, from 0 to 1, keeps many from coming back in the same moment.
        """
        self.failures += 1
        self.last_error = error
        self.failing_since = now if self.failing_since is None else self.failing_since
        wait = IMMEDIATE_RETRY_S * jitter
        if self.failures > 1:
            wait = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self.failures - 2, 16)) * (0.5 + 0.5 * jitter)
        self.is_down = self.failures > 1 or error.retry_after_s > 0
        self.retry_at = now + max(
            wait, error.retry_after_s + jitter * min(MAX_RETRY_S, RETRY_AFTER_JITTER * error.retry_after_s)
        )
