"""Follow objects by watching them: each change as it comes, over watches that end and expire."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from parley.cli.kube import Kube
from parley.cli.reading import name_of, text
from parley.cli.task_tree import PARENT_LABEL, children_of, may_have_children, parent_of
from parley.kube.client import JsonObject
from parley.kube.errors import KubeError, KubeUnavailable, NotFound
from parley.kube.kinds import TASK, Kind

_AWAY_SECONDS = 120.0
"""How long an API server may be away before a command that follows gives up."""
_RETRY_SECONDS = 1.0
_NEWS = 256
"""Changes that are held until they are shown; the rest is read from the API server after them."""


def follow(
    kube: Kube, kind: Kind, namespace: str, name: str, *, every: int | None = None
) -> Iterator[JsonObject | None]:
    """Yield an object whenever it changes, first as it is; None once it is deleted, which is the end.

    With ``every`` it is yielded at least every so many seconds, so that the caller can look at the time.

    Raises:
        NotFound: there is none to begin with.
        KubeError: the API server refuses, or is away for two minutes.
    """
    body = kube.get(kind, namespace, name)
    uid = text(body, "metadata", "uid")
    yield body
    patience, version = Patience(), text(body, "metadata", "resourceVersion")
    while True:
        try:
            fields = f"metadata.name={name}"
            for change in kube.watch(kind, namespace, version, fields=fields, seconds=every):
                body = change.body
                patience.renew()
                if change.type == "DELETED" or text(body, "metadata", "uid") != uid:
                    yield None
                    return
                yield body
            # What the watch may have missed, or nothing: then it is told once more.
            seen, body = text(body, "metadata", "resourceVersion"), kube.get(kind, namespace, name)
            version = text(body, "metadata", "resourceVersion")
            patience.renew()
            if text(body, "metadata", "uid") != uid:
                yield None
                return
            if every is not None or text(body, "metadata", "resourceVersion") != seen:
                yield body
        except NotFound:
            yield None
            return
        except KubeError as error:
            if error.status == 410:
                # The version was compacted away: watch from whatever there is.
                version = "0"
                continue
            patience.bear(error)


class Patience:
    """How long an API server that is away is borne: anew since it was last there."""

    def __init__(self) -> None:
        self._end: float | None = None

    def renew(self) -> None:
        """It is there."""
        self._end = None

    def bear(self, error: KubeError) -> None:
        """Wait a moment; raise the error when it has gone on for too long or will not pass."""
        if not isinstance(error, KubeUnavailable):
            raise error
        now = time.monotonic()
        self._end = self._end or now + _AWAY_SECONDS
        if now > self._end:
            raise error
        time.sleep(_RETRY_SECONDS)


@dataclass(slots=True)
class Family:
    """A Task and all below it, as last seen."""

    root: JsonObject
    below: dict[str, JsonObject] = field(default_factory=dict[str, JsonObject])
    gone: bool = False

    def parents(self) -> list[str]:
        """Names of those that may have children."""
        tasks = [self.root, *self.below.values()]
        return sorted(name_of(task) for task in tasks if may_have_children(task))


def load_family(kube: Kube, namespace: str, name: str) -> Family:
    """Read a Task and all below it, a level at a time."""
    family = Family(kube.get(TASK, namespace, name))
    asked: set[str] = set()
    while new := [parent for parent in family.parents() if parent not in asked]:
        asked.update(new)
        for child in _children(kube, namespace, new):
            family.below[name_of(child)] = child
    return family


_NAMES_A_SELECTOR = 100


def _children(kube: Kube, namespace: str, parents: Sequence[str]) -> Iterator[JsonObject]:
    for start in range(0, len(parents), _NAMES_A_SELECTOR):
        chosen = ",".join(parents[start : start + _NAMES_A_SELECTOR])
        yield from kube.list(TASK, namespace, labels=f"{PARENT_LABEL} in ({chosen})").items


def follow_family(kube: Kube, namespace: str, name: str, *, tick: float | None = None) -> Iterator[Family]:
    """Yield a Task and all below it whenever something of it changes, and at least every ``tick`` seconds.

    The last one yielded is ``gone``, if the Task was deleted. The caller stops when it has seen enough.
    """
    family = load_family(kube, namespace, name)
    news = _News()
    try:
        news.tell_of(follow(kube, TASK, namespace, name))
        watching = False
        yield family
        while True:
            if not watching and family.parents():
                watching = True
                news.tell_of(_watch_below(kube, namespace, name))
            try:
                told = news.get(tick)
            except queue.Empty:
                yield family
                continue
            if isinstance(told, Exception):
                raise told
            if told is None:
                family.gone = True
            elif name_of(told) == name:
                family.root = told
            else:
                family.below[name_of(told)] = told
            yield family
    finally:
        news.close()


def _watch_below(kube: Kube, namespace: str, name: str) -> Iterator[JsonObject]:
    """Yield all below a Task, however deep, as they come and change.

    One watch on whatever is somebody's child: the names of the parents would be too many for a selector.
    """
    versions: dict[str, str] = {}
    patience = Patience()
    while True:
        try:
            listed = kube.list(TASK, namespace, labels=PARENT_LABEL)
            patience.renew()
            for task in _below(children_of(listed.items), name):
                version = text(task, "metadata", "resourceVersion")
                if versions.get(name_of(task)) != version:
                    versions[name_of(task)] = version
                    yield task
            for change in kube.watch(TASK, namespace, listed.version, labels=PARENT_LABEL):
                parent = parent_of(change.body)
                # A Task is always told of before its children are.
                if change.type != "DELETED" and (parent == name or parent in versions):
                    versions[name_of(change.body)] = text(change.body, "metadata", "resourceVersion")
                    yield change.body
        except KubeError as error:
            if error.status != 410:
                patience.bear(error)


def _below(children: Mapping[str, Sequence[JsonObject]], name: str) -> Iterator[JsonObject]:
    waiting, seen = [name], {name}
    while waiting:
        for child in children.get(waiting.pop(), ()):
            # Labels are anybody's to write: two Tasks may each claim to be below the other.
            if name_of(child) not in seen:
                seen.add(name_of(child))
                waiting.append(name_of(child))
                yield child


class _News:
    """What several watches tell, each read in a thread of its own: a watch blocks until something happens."""

    def __init__(self) -> None:
        self._queue: queue.Queue[JsonObject | Exception | None] = queue.Queue(_NEWS)
        self._closed = threading.Event()

    def tell_of(self, source: Iterator[JsonObject | None]) -> None:
        """Read a source until it ends or this is closed; its error is told too."""

        def pump() -> None:
            try:
                for one in source:
                    if not self._put(one):
                        return
            except Exception as error:  # noqa: BLE001 - it is raised where the news are read
                self._put(error)

        # None may keep the process from ending.
        threading.Thread(target=pump, daemon=True).start()

    def get(self, timeout: float | None) -> JsonObject | Exception | None:
        """The next of the news.

        Raises:
            queue.Empty: there was none for ``timeout`` seconds.
        """
        return self._queue.get(timeout=timeout)

    def close(self) -> None:
        """Let the threads end with the next thing that they would tell."""
        self._closed.set()

    def _put(self, one: JsonObject | Exception | None) -> bool:
        while not self._closed.is_set():
            try:
                self._queue.put(one, timeout=_RETRY_SECONDS)
            except queue.Full:
                continue
            return True
        return False


def siblings(family: Family) -> dict[str, Sequence[JsonObject]]:
    """The Tasks below, by the name of the Task above."""
    return dict(children_of(family.below.values()))
