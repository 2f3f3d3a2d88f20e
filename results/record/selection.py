"""Finds the trials of a sweep that a user means: by digest, by label, or by status."""

from __future__ import annotations

from results.record.reader import SweepRecord, TrialRecord
from results.record.status import Status
from trainer.errors import UserError

SHORT = 8  # characters of a digest that name a trial for people
LEAST = 4  # characters of a digest that may name one


def short_digest(trial: TrialRecord) -> str:
    """Return the beginning of a trial's digest by which messages name the trial."""
    return trial.digest[:SHORT]


def named(trials: list[TrialRecord]) -> str:
    """Return the label of a single trial, or how many trials there are, for a message."""
    return trials[0].label if len(trials) == 1 else f"{len(trials)} trials"


def select_trials(sweep: SweepRecord, texts: list[str]) -> list[TrialRecord]:
    """Return the trials that any of the texts means, in the sweep's order, each once.

    A text is a digest or its beginning, a trial's label such as ``infonce · tau 0.1 · seed 0`` (the dots may be left out),
    or a status such as ``failed``, which means all trials that have it.

    Args:
        sweep: the sweep.
        texts: what the user gave.

    Raises:
        UserError: if a text means no trial, or the beginning of a digest is that of several.
    """
    trials = sweep.trials()
    chosen = {trial.digest for text in texts for trial in _meant(sweep, trials, text)}
    return [trial for trial in trials if trial.digest in chosen]


def select_trial(sweep: SweepRecord, text: str) -> TrialRecord:
    """Return the one trial that a text means.

    Raises:
        UserError: if it means none or several.
    """
    found = select_trials(sweep, [text])
    if len(found) > 1:
        names = ", ".join(f"{short_digest(t)} ({_label(t)})" for t in found[:4])
        raise UserError(f"{text!r} means {len(found)} trials of {sweep.name!r}: {names}{', …' * (len(found) > 4)}; name one")
    return found[0]


def _meant(sweep: SweepRecord, trials: list[TrialRecord], text: str) -> list[TrialRecord]:
    found = [t for t in trials if t.status == text] if text in tuple(Status) else []
    found = found or [t for t in trials if not t.problem and _words(t.label) == _words(text)]
    if not found and len(text) >= LEAST:
        found = [t for t in trials if t.digest.startswith(text.lower())]
        if len(found) > 1:
            raise UserError(f"{len(found)} trials of {sweep.name!r} begin with {text!r}; give more of the digest")
    if not found and text not in tuple(Status):
        raise UserError(
            f"no trial {text!r} in {sweep.name!r}; expected a digest, label or status as 'alphacl status {sweep.name}' lists them"
        )
    if not found:
        raise UserError(f"no trial of {sweep.name!r} is {text}; see 'alphacl status {sweep.name}'")
    return found


def _label(trial: TrialRecord) -> str:
    return trial.digest if trial.problem else trial.label


def _words(text: str) -> list[str]:
    return text.replace("·", " ").split()
