"""Spreads a kernel's rows over threads: any number of callers at once, one shared pool, no result depends on the split.

Numba's own `parallel=True` is not used: its portable threading layer aborts when two Python threads enter it together.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from rtseg.errors import ConfigError
from rtseg.platforms import allow_cpus, allowed_cpus, current_cpu, usable_cpus

__all__ = ["set_threads", "spread", "threads"]

MOST_BY_DEFAULT = 8
PIECES_PER_THREAD = 3
"""More pieces than threads, since rows cost unequal time (boundaries gather in some of them)."""

_lock = threading.Lock()
_count = 0
_pool: ThreadPoolExecutor | None = None
_helpers: set[int] = set()
"""Native ids of the pool's threads."""
_avoided: int | None = None
"""The CPU that the pool's threads keep off: that of the last caller."""


def set_threads(count: int | None = None) -> int:
    """Use `count` threads for every kernel, None for one per CPU (at most 8); returns the number in use."""
    global _count, _pool, _helpers, _avoided
    if count is None:
        count = min(usable_cpus(), MOST_BY_DEFAULT)
    if count < 1:
        raise ConfigError(f"kernel threads: {count}, expected 1 or more")
    with _lock:
        if count != _count:
            helpers: set[int] = set()
            old, _pool = _pool, None
            if count > 1:
                _pool = ThreadPoolExecutor(count - 1, "rtseg-kernel", _note_helper, (helpers,))
            _count, _helpers, _avoided = count, helpers, None
            if old is not None:
                old.shutdown(wait=False)  # What was handed to it is still run.
    return count


def threads() -> int:
    """The number of threads in use."""
    return _count or set_threads()


def _note_helper(helpers: set[int]) -> None:
    helpers.add(threading.get_native_id())


def _keep_off_this_cpu() -> None:
    """Let the helpers wake up on any CPU but the caller's.

    The kernel wakes a thread where its waker runs if it thinks that the caches are worth it; on small virtual machines
    it thinks so even while the other CPU is idle, and two threads then share one CPU (seen as half the speed after a
    pause of milliseconds).
    """
    global _avoided
    here = current_cpu()
    if here is None or here == _avoided:
        return
    others = allowed_cpus() - {here}
    if not others:
        return
    for helper in list(_helpers):
        allow_cpus(helper, others)
    if len(_helpers) == _count - 1:
        _avoided = here


def spread(work: Callable[[int, int], object], rows: int) -> None:
    """Call `work(first, last)` on pieces of range(rows) until all are done; the caller's thread takes part.

    An exception in any piece is raised here. A pool busy with another caller's pieces delays no caller: whoever is free
    takes the next piece, and a helper that has not started when the pieces are used up is cancelled.
    """
    workers = min(threads(), rows)
    if workers <= 1:
        if rows > 0:
            work(0, rows)
        return
    pieces = min(rows, workers * PIECES_PER_THREAD)
    edges = [rows * piece // pieces for piece in range(pieces + 1)]
    waiting = deque(itertools.pairwise(edges))

    def drain() -> None:
        while True:
            try:
                first, last = waiting.popleft()
            except IndexError:
                return
            work(first, last)

    _keep_off_this_cpu()
    with _lock:
        helpers = [_pool.submit(drain) for _ in range(workers - 1)] if _pool is not None else []
    try:
        drain()
    finally:
        waiting.clear()
        running = [helper for helper in helpers if not helper.cancel()]
        errors = [error for helper in running if (error := helper.exception()) is not None]
    if errors:
        raise errors[0]
