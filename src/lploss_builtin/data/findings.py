"""What is wrong with a labelled project, gathered until all of it is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of finding.

    Attributes:
        title: what was found, with what is expected.
        advice: what to do.
        hinders: whether the project cannot be used with it; otherwise it is worth a note.
    """

    title: str
    advice: str
    hinders: bool = True


UNUSABLE_FILES = Kind("Files that cannot be used", "Each must be there and complete.")


class Findings:
    """What the checks of a project found, by kind.

    Args:
        num_shown: how many cases of a kind are told; ``None``: all.

    Example:
        >>> findings = Findings()
        >>> missing = Kind("Images that do not exist", "Put them there.")
        >>> findings.add(missing, [f"img{number}.png" for number in range(7)])
        >>> print(findings.problems())
        Images that do not exist (7). Put them there.
          img0.png
          img1.png
          img2.png
          img3.png
          img4.png
          and 2 more
    """

    def __init__(self, num_shown: int | None = _SHOWN) -> None:
        self._num_shown = num_shown
        self._found: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, cases: Iterable[str]) -> None:
        """Add cases of a kind, one line each; none adds nothing."""
        if new := list(cases):
            self._found.setdefault(kind, []).extend(new)

    def problems(self) -> str:
        """Return all that hinders, a paragraph for each kind; nothing where all is well."""
        return "\n".join(self._paragraphs(hinders=True))

    def notes(self) -> tuple[str, ...]:
        """Return all that is worth a note, a paragraph for each kind."""
        return tuple(self._paragraphs(hinders=False))

    def _paragraphs(self, *, hinders: bool) -> list[str]:
        return [
            _paragraph(kind, cases, len(cases) if self._num_shown is None else self._num_shown)
            for kind, cases in self._found.items()
            if kind.hinders == hinders
        ]


def _paragraph(kind: Kind, cases: list[str], num_shown: int) -> str:
    lines = [f"{kind.title} ({len(cases)}). {kind.advice}", *cases[:num_shown]]
    if len(cases) > num_shown:
        lines.append(f"and {len(cases) - num_shown} more")
    return "\n  ".join(lines)
