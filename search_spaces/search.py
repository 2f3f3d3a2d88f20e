"""The sections of a search space besides ``trial`` and ``space``: how a search explores, and what one trial occupies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from search_spaces.samplers import SAMPLERS
from search_spaces.yaml_lines import Document, Path
from trainer.errors import did_you_mean, is_number
from trainer.extra_metrics import own_searchable
from trainer.metrics import SEARCHABLE, SELECTION

MOST = 1_000_000  # of whole numbers in these sections, trials among them
MOST_GPUS, LEAST_GPU = 10_000, 1e-3  # of one trial


@dataclass(frozen=True)
class Search:
    """A sampler's search of a space, as the sections ``search``, ``repeat`` and ``confirm`` describe it.

    Args:
        sampler: the sampler's name, one of ``SAMPLERS``.
        trials: how many configurations the sampler suggests.
        seed: the sampler's seed.
        metric: the metric that the sampler chooses by; it seeks high or low values as :mod:`trainer.metrics` says.
        repeat: seeds that every suggestion is run with; a suggestion counts by its mean over them. Empty: the trial's own seed.
        top: how many of the best suggestions are run again at the end.
        fresh: how many new seeds each of these is run again with; these runs are the result.
        per_family: whether every objective of the space has a sampler, ``trials`` and ``top`` of its own.
    """

    sampler: str = "tpe"
    trials: int = 20
    seed: int = 0
    metric: str = SELECTION
    repeat: tuple[int, ...] = ()
    top: int = 0
    fresh: int = 0
    per_family: bool = False

    def planned(self, configurations: float) -> int:
        """Return the number of trials, of a family or in all, if every suggestion runs to its end.

        Args:
            configurations: how many there are to suggest; infinity for a range of numbers.
        """
        suggestions = int(min(self.trials, configurations))
        return suggestions * max(1, len(self.repeat)) + min(self.top, suggestions) * self.fresh


@dataclass(frozen=True)
class EarlyStopping:
    """Asynchronous successive halving within an objective's family (arXiv 1810.05934).

    From epoch ``grace`` on, at ``grace``, ``grace · reduction``, ``grace · reduction²``, … epochs, a trial goes on only if it is
    among the best ``1 / reduction`` of its family by ``metric`` so far.
    """

    grace: int
    reduction: float = 3.0
    metric: str = SELECTION


@dataclass(frozen=True)
class Resources:
    """Hardware of one trial.

    Args:
        cpu: the cores of a trial, which are also its threads.
        gpu: the GPUs of a trial; a fraction packs several trials on one.
        mps: whether trials that share a GPU compute side by side, by NVIDIA's MPS, where it is installed.
    """

    cpu: int = 1
    gpu: float = 0.0
    mps: bool = True


@dataclass(frozen=True)
class Budget:
    """What a sweep may use; None where there is no limit. A trial that runs when it is used up still goes on to its end.

    Args:
        hours: for which its drivers may run, in all.
        gpu_hours: of its trials, in all.
        trials_at_once: how many trials run side by side.
    """

    hours: float | None = None
    gpu_hours: float | None = None
    trials_at_once: int | None = None


def known_keys(document: Document, path: Path, data: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise SpaceError where ``data``, which stands at ``path`` in the document, has a key that is not among ``known``."""
    for key in data:
        if key not in known:
            where = f" in {path[-1]!r}" if path else ""
            raise document.error((*path, key), f"unknown key {key!r}{where}{did_you_mean(key, known)}")


def section(document: Document, name: str, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the keys and values of the document's section ``name``; empty where the section is not given.

    Raises:
        SpaceError: if the section does not hold ``key: value`` lines, or has a key that is not among ``known``.
    """
    found = document.data.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise document.error((name,), f"expected {name!r} to hold 'key: value' lines, got {found!r}")
    known_keys(document, (name,), found, known)
    return found


def whole(document: Document, path: Path, value: Any, low: int, high: int = MOST) -> int:
    """Return ``value`` where it is a whole number from ``low`` to ``high``; raise SpaceError about ``path`` where it is not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise document.error(path, f"expected {path[-1]} to be a whole number >= {low}, got {value!r}")
    if value > high:
        raise document.error(path, f"expected {path[-1]} <= {high}, got {value:g}")
    return value


def read_search(document: Document) -> Search | None:
    """Read the sections ``search``, ``repeat`` and ``confirm``; return None for a grid, which has no ``search``.

    Raises:
        SpaceError: if a section is invalid, or ``repeat`` or ``confirm`` is given without ``search``.
    """
    if document.data.get("search") is None:
        for name, instead in (("repeat", "list the seeds under 'space'"), ("confirm", "a grid's figures need no confirmation")):
            if document.data.get(name) is not None:
                raise document.error((name,), f"{name!r} is for a search; {instead}, or add a 'search' section")
        return None
    given = section(document, "search", ("sampler", "trials", "per_family", "seed", "metric"))
    default = Search()
    sampler = given.get("sampler", default.sampler)
    if sampler not in SAMPLERS:
        raise document.error(
            ("search", "sampler"), f"no sampler {sampler!r}{did_you_mean(str(sampler), SAMPLERS)}; a grid has no 'search' section"
        )
    per_family = given.get("per_family") is not None
    if per_family and "trials" in given:
        raise document.error(("search", "trials"), "'per_family' gives the trials of each objective; keep one of the two")
    budget = "per_family" if per_family else "trials"
    trials = whole(document, ("search", budget), given.get(budget, default.trials), 1)
    seed = whole(document, ("search", "seed"), given.get("seed", default.seed), 0, 2**32 - 1)
    top, fresh = _confirm(document, trials)
    return Search(sampler, trials, seed, _metric(document, "search", given), _repeat(document), top, fresh, per_family)


def _metric(document: Document, name: str, given: dict[str, Any]) -> str:
    metric, known = given.get("metric", SELECTION), (*SEARCHABLE, *own_searchable())
    if metric not in known:
        raise document.error(
            (name, "metric"),
            f"expected metric to be one of {', '.join(known)}: read on held-out images or without labels, got {metric!r}",
        )
    return str(metric)


def _repeat(document: Document) -> tuple[int, ...]:
    given = section(document, "repeat", ("seed",))
    if not given:
        return ()
    seeds = given["seed"] if isinstance(given["seed"], list) else None
    if not seeds:
        raise document.error(("repeat", "seed"), f"expected a list of seeds, as in seed: [0, 1, 2], got {given['seed']!r}")
    for place, value in enumerate(seeds):
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
            raise document.error(("repeat", "seed", place), f"expected a seed from 0 to 2**63 - 1, got {value!r}")
        if value in seeds[:place]:
            raise document.error(("repeat", "seed", place), f"the seed {value} is listed twice")
    for name in ("space", "trial"):
        if isinstance(document.data.get(name), dict) and "seed" in document.data[name]:
            raise document.error((name, "seed"), "'seed' is given under 'repeat' too; keep one")
    return tuple(seeds)


def _confirm(document: Document, trials: int) -> tuple[int, int]:
    if document.data.get("confirm") is None:
        return 0, 0
    given = section(document, "confirm", ("top", "seeds"))
    top = whole(document, ("confirm", "top"), given.get("top", 1), 1)
    if top > trials:
        raise document.error(("confirm", "top"), f"expected top <= the search's {trials} trials, got {top}")
    return top, whole(document, ("confirm", "seeds"), given.get("seeds", 5), 2)


def read_early_stopping(document: Document, horizon: int) -> EarlyStopping | None:
    """Read the section ``early_stopping``; return None where it is absent or false.

    Args:
        document: the YAML document.
        horizon: length of the longest trial, in epochs.

    Raises:
        SpaceError: if the section is invalid, or the trials are too short to be stopped early.
    """
    name = "early_stopping"
    value = document.data.get(name)
    if value is None or value is False:
        return None
    if horizon < 4:
        raise document.error((name,), f"expected trials of at least 4 epochs to stop early, got {horizon}")
    given = {} if value is True else section(document, name, ("grace", "reduction", "metric"))
    least = horizon // 10 + 1
    grace = whole(document, (name, "grace"), given.get("grace", max(least, -(-horizon // 4))), 1)
    if not least <= grace < horizon:
        raise document.error(
            (name, "grace"),
            f"expected grace from {least} to {horizon - 1} epochs (a tenth of a run does not foretell its end), got {grace}",
        )
    reduction = given.get("reduction", 3)
    if not is_number(reduction) or not 1 < reduction <= 100:
        raise document.error((name, "reduction"), f"expected 1 < reduction <= 100, got {reduction!r}")
    return EarlyStopping(grace, float(reduction), _metric(document, name, given))


def read_resources(document: Document) -> Resources:
    """Read the section ``resources``: the CPU cores and GPUs of one trial, and how trials share a GPU.

    Raises:
        SpaceError: if the section is invalid, such as a fraction of a GPU that does not divide 1.
    """
    given = section(document, "resources", ("cpu", "gpu", "mps"))
    cpu = whole(document, ("resources", "cpu"), given.get("cpu", 1), 1)
    gpu = given.get("gpu", 0)
    if is_number(gpu) and not (gpu == 0 or LEAST_GPU <= gpu <= MOST_GPUS):
        raise document.error(("resources", "gpu"), f"expected gpu to be 0, or from {LEAST_GPU:g} to {MOST_GPUS}, got {gpu:g}")
    if not is_number(gpu) or (gpu > 1 and gpu != int(gpu)) or (0 < gpu < 1 and abs(1 / gpu - round(1 / gpu)) > 1e-6):
        raise document.error(
            ("resources", "gpu"), f"expected gpu to be a whole number or a fraction that divides 1, as 0.5 or 0.25, got {gpu!r}"
        )
    mps = given.get("mps", "auto")
    if mps is not False and mps not in ("auto", "off"):  # YAML reads a bare off as false
        raise document.error(("resources", "mps"), f"expected mps to be auto or off, got {mps!r}")
    return Resources(cpu, float(gpu), mps == "auto")


def read_budget(document: Document) -> Budget:
    """Read the section ``budget``.

    Raises:
        SpaceError: if the section is invalid.
    """
    given = section(document, "budget", ("hours", "gpu_hours", "trials_at_once"))
    for name in ("hours", "gpu_hours"):
        if given.get(name) is not None and (not is_number(given[name]) or given[name] <= 0):
            raise document.error(("budget", name), f"expected {name} > 0, got {given[name]!r}")
    at_once = given.get("trials_at_once")
    if at_once is not None:
        whole(document, ("budget", "trials_at_once"), at_once, 1)
    return Budget(given.get("hours"), given.get("gpu_hours"), at_once)
