"""What the scripted model was asked, and how often each key failed. ``scripted_model`` lists the rules."""

from __future__ import annotations

import json
import threading
import time
from collections import OrderedDict, deque

from scripted_calls import Json

MAX_RECORDED = 2000
MAX_KEYS = 10_000


class Record:
    """The newest requests, and counters by key; for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recorded: deque[dict[str, Json]] = deque(maxlen=MAX_RECORDED)
        self._served = 0
        self._failures: OrderedDict[str, int] = OrderedDict()

    def record(self, path: str, body: dict[str, Json], key: str | None) -> dict[str, Json]:
        """Keep a request; the entry gets its status and reply later."""
        with self._lock:
            self._served += 1
            entry: dict[str, Json] = {
                "number": self._served,
                "seconds": round(time.monotonic(), 3),
                "path": path,
                "apiKeySha256": key,
                "request": body,
            }
            self._recorded.append(entry)
            return entry

    def count_failure(self, key: str, limit: int) -> bool:
        """Tell whether the request is among the first ``limit`` of its key, and count it if so."""
        with self._lock:
            seen = self._failures.get(key, 0)
            if seen >= limit:
                return False
            self._failures[key] = seen + 1
            if len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)
            return True

    def listing(self, contains: str, limit: int) -> dict[str, Json]:
        """Return the newest recorded requests whose JSON contains a text, oldest first."""
        with self._lock:
            entries = list(self._recorded)
        found = [entry for entry in entries if contains in json.dumps(entry["request"], ensure_ascii=False)]
        return {"count": len(found), "requests": found[-limit:] if limit else []}
