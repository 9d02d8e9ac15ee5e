"""What a source of live frames needs besides decoding: waiting longer after each failure, and hiding passwords."""

from __future__ import annotations

import re

__all__ = ["Backoff", "redact"]

FIRST_WAIT = 0.5
SECRET = r"password|passwd|pwd|pass|user|username|token|access_token|secret|key|api_?key|auth|sig|signature"


class Backoff:
    """Counts failures in a row and says how long to wait before the next attempt.

    The wait doubles from half a second up to `limit` seconds. `retries` is how many attempts in a row may fail, None
    for any number.
    """

    def __init__(self, retries: int | None, limit: float) -> None:
        self._retries, self._limit = retries, limit
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether no further attempt is allowed."""
        return self._retries is not None and self.failures >= self._retries

    def next_wait(self) -> float:
        """Note a failure; seconds to wait before trying again."""
        wait = min(self._limit, FIRST_WAIT * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return wait

    def succeeded(self) -> None:
        """A frame arrived: the next failure is the first again."""
        self.failures = 0


def redact(url: str) -> str:
    """`url` without the user, password and keys it may carry, for messages and logs."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/") if mark else ("", "", url)
    # What is left of the last @ is never shown, for a password may contain @; and where the part before the first slash
    # ends in anything but a port, the password contains that slash.
    if "@" in host:
        host = "***@" + host.rpartition("@")[2]
    elif re.fullmatch(r".*:.*\D.*", host) and "@" in path and not host.startswith("["):
        host, path = "***@" + path.partition("@")[2].partition("/")[0], path.partition("@")[2].partition("/")[2]
    path = re.sub(rf"(?i)\b({SECRET})=[^&/\s#]*", r"\1=***", path)
    return f"{scheme}{mark}{host}{slash}{path}"
