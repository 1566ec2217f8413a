"""The health of a server and the time of the next attempt. Pure; the time is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import ModelError, ServerLost

FIRST_RETRY_S, MAX_RETRY_S = 0.5, 30.0  # exponential backoff between attempts
IMMEDIATE_RETRY_S = 0.2
RETRY_AFTER_JITTER = 0.5  # up to 50 % is added to Retry-After, so that rejected clients do not return together


@dataclass(slots=True)
class ServerHealth:
    """`is_down`: the pool probes the server, and no answer waits for it. `refusal`: an error that no attempt cures.

    `failing_since`: when the server last stopped answering.
    """

    failures: int = 0
    retry_at: float = 0.0
    is_down: bool = False
    failing_since: float | None = None
    refusal: ModelError | None = None
    last_error: ServerLost | None = None

    def record_success(self) -> None:
        self.failures, self.retry_at, self.is_down, self.failing_since, self.last_error = 0, 0.0, False, None, None

    def record_failure(self, error: ServerLost, now: float, jitter: float) -> None:
        """Sets the time of the retry: soon for the first failure after a success, ever later for the next.

        `jitter`, from 0 to 1, spreads the retries of many clients.
        """
        self.failures += 1
        self.last_error = error
        self.failing_since = now if self.failing_since is None else self.failing_since
        wait_s = IMMEDIATE_RETRY_S * jitter
        if self.failures > 1:
            wait_s = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0 ** min(self.failures - 2, 16)) * (0.5 + 0.5 * jitter)
        self.is_down = self.failures > 1 or error.retry_after_s > 0
        extra_s = jitter * min(MAX_RETRY_S, RETRY_AFTER_JITTER * error.retry_after_s)
        self.retry_at = now + max(wait_s, error.retry_after_s + extra_s)
