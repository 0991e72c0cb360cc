"""What ``parley doctor`` found, one line a check."""

from dataclasses import dataclass
from enum import StrEnum

from parley.kube.client import JsonObject


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong."""
    WRONG = "wrong"
    UNSEEN = "unseen"
    """The caller may not see it."""


MARKS = {
    Verdict.OK: ("✓", "green"),
    Verdict.NOTE: ("!", "yellow"),
    Verdict.WRONG: ("✗", "red"),
    Verdict.UNSEEN: ("-", None),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what it is like, and what to do about it."""

    verdict: Verdict
    check: str
    says: str
    do: str = ""

    def to_json(self) -> JsonObject:
        """For programs."""
        body: JsonObject = {"verdict": str(self.verdict), "check": self.check, "says": self.says}
        return {**body, "do": self.do} if self.do else body


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(Verdict.OK, check, says)


def note(check: str, says: str, do: str = "") -> Finding:
    """Worth knowing."""
    return Finding(Verdict.NOTE, check, says, do)


def wrong(check: str, says: str, do: str) -> Finding:
    """Something is wrong, and can be mended."""
    return Finding(Verdict.WRONG, check, says, do)


def unseen(check: str, right: str) -> Finding:
    """The caller lacks the right to look."""
    return Finding(Verdict.UNSEEN, check, f"you may not see this: it needs {right}")
