"""Command-line options, with a parser that answers a mistake in one line."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from trainer.errors import did_you_mean
from trainer.terminal import printable


class Parser(argparse.ArgumentParser):
    """Argument parser that says what is wrong in one line and exits with code 2, where argparse prints the whole program's usage.

    A subcommand that is to answer for its own options names itself: ``sub.set_defaults(parser=sub)``.
    """

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the arguments; exit with code 2 at an unknown option or an unexpected word."""
        found, others = self.parse_known_args(args, namespace)
        if others:
            command: Parser = getattr(found, "parser", self)
            command._refuse(others[0].partition("=")[0])
        return found

    def _refuse(self, word: str) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"unexpected {word!r}")
        known = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        self.error(f"unknown option {word!r}{did_you_mean(word, known)}")

    def error(self, message: str) -> NoReturn:
        """Print the message in one line on standard error and exit with code 2."""
        self.exit(2, printable(f"{self.prog}: error: {message} (see '{self.prog} --help')") + "\n")
