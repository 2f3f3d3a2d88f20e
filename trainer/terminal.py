"""Text for terminals: what comes from data is made harmless and short, and symbols that a terminal lacks fall back to ASCII.

A control character in a message, a name or a path could move the cursor, change colours or rename the window of whoever reads it;
:func:`printable` shows it escaped, as ``\\x1b``.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import IO, Any, cast

from trainer.errors import UserError

MOST = 2000  # characters of a message that is printed
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")  # of a traceback that was written for a terminal
_ASCII = {
    "–": "-", "—": "-", "−": "-", "·": "|", "±": "+-", "…": "...", "×": "x", "→": "->", "←": "<-", "≥": ">=", "≤": "<=",
    "≠": "!=", "∝": "~", "’": "'", "‘": "'", "“": '"', "”": '"', "²": "^2", "⁴": "^4", "ⁿ": "^n", "α": "alpha", "β": "beta",
    "γ": "gamma", "λ": "lambda", "τ": "tau", "φ": "phi", "ψ": "psi", "Δ": "Delta", "σ": "sigma", "ε": "eps", "θ": "theta",
    "ξ": "xi", "π": "pi", "√": "sqrt", "✓": "ok", "✗": "x", "‖": "|", "′": "'", "↦": "->", "μ": "mu", "µ": "mu",
}  # fmt: skip
FALLBACK = "alphacl_ascii"  # the name of the codecs' error handler


def printable(text: str, most: int | None = MOST, lines: bool = False) -> str:
    """Return a text that does nothing to a terminal: control and invisible characters are escaped, as ``\\x1b``.

    Args:
        text: the text; lone surrogates, as names of files with foreign bytes hold them, are escaped too.
        most: how many characters are kept, an ellipsis included; all when not given.
        lines: whether the text may have several lines; a line break is escaped otherwise.
    """
    if most is not None and len(text) > most:
        text = text[: most - 1] + "…"
    if text.isprintable():  # nearly always
        return text
    if lines:
        return "\n".join(printable(line, None) for line in text.split("\n"))
    text = _COLOURS.sub("", text)
    return "".join(c if c.isprintable() or c in "\t\u00a0" else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


class _Harmless:
    """A stream that escapes the control characters in what is printed, and otherwise is the ``stream`` that it stands for.

    ``outlives_reader`` says whether the program goes on in silence when nobody reads the stream any more.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream, self.outlives_reader = stream, False

    def write(self, text: str) -> int:
        """Write a text as :func:`printable` returns it."""
        with self.reader():
            self.stream.write(printable(text, None, lines=True))
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        with self.reader():
            self.stream.flush()

    @contextlib.contextmanager
    def reader(self) -> Iterator[None]:
        """Let all that follows go nowhere where nothing can be written; raise an error where that ends the program."""
        try:
            yield
        except BrokenPipeError:
            if not self.outlives_reader:
                raise
            to_nowhere(self.stream)
        except OSError as error:  # a file on a disk that is full
            to_nowhere(self.stream)
            if not self.outlives_reader:
                raise UserError(f"cannot write the output: {error.strerror or error}") from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextlib.contextmanager
def harmless_output() -> Iterator[None]:
    """Print whatever is printed while the block runs without harm and without an error.

    Control characters are escaped on standard output; on it and on standard error a character that the stream's encoding lacks
    falls back to ASCII.
    """
    codecs.register_error(FALLBACK, _fall_back)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=FALLBACK)
    before, sys.stdout = sys.stdout, _Harmless(sys.stdout)
    try:
        yield
    finally:
        sys.stdout = before


def outlive_reader() -> None:
    """Have this program go on when the reader of its standard output goes, as in ``alphacl sweep … | head -1``."""
    if isinstance(sys.stdout, _Harmless):
        sys.stdout.outlives_reader = True


def to_nowhere(stream: IO[str]) -> None:
    """Let all that is written to a stream from now on, and what it still holds, go to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


class _Unescaped:
    """The stream behind a :class:`_Harmless`, which goes with it where nothing can be written any more."""

    def __init__(self, harmless: _Harmless) -> None:
        self.harmless = harmless

    def write(self, text: str) -> int:
        """Write a text as it is."""
        with self.harmless.reader():
            self.harmless.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream."""
        self.harmless.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.harmless.stream, name)


def own_stream(stream: IO[str]) -> IO[str]:
    """Return the stream behind one that escapes what it is given, for a library that writes control characters of its own."""
    return cast(IO[str], _Unescaped(stream)) if isinstance(stream, _Harmless) else stream


def complain(message: str) -> None:
    """Print a message in one line on standard error, cut to what anybody reads."""
    print(printable(message), file=sys.stderr, flush=True)


def _fall_back(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that a stream's encoding lacks: the nearest ASCII ones, else a question mark."""
    assert isinstance(error, UnicodeEncodeError)
    bad = error.object[error.start : error.end]
    return "".join(_ASCII.get(c) or _plain(c) for c in bad), error.end


def _plain(character: str) -> str:
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"
