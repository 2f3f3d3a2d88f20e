"""Reads ``enqueue``, a list of settings that a search tries before its sampler suggests any."""

from __future__ import annotations

from typing import Any

from search_spaces.domains import Domain, Range, contains
from search_spaces.spec import Branch, SweepSpec
from trainer.errors import did_you_mean


def read_enqueue(spec: SweepSpec) -> tuple[tuple[Branch | None, dict[str, Any]], ...]:
    """Return the settings that a search tries first: for each the objective, and values of its domains by name.

    An entry names its objective as ``space`` does, where there are several; what it leaves out, the sampler suggests. The
    objective is None where the entry leaves it out.

    Raises:
        SpaceError: if the sweep is a grid, or an entry names a setting that is not searched or a value outside the space.
    """
    document = spec.document
    given = document.data.get("enqueue")
    if given is None:
        return ()
    if spec.search is None:
        raise document.error(("enqueue",), "'enqueue' is for a search; a grid runs all that its space lists")
    if not isinstance(given, list) or not all(isinstance(entry, dict) and entry for entry in given):
        raise document.error(("enqueue",), "expected a list of settings, as in - {objective: infonce, tau: 0.1}")
    return tuple(_read_entry(spec, place, entry) for place, entry in enumerate(given))


def _read_entry(spec: SweepSpec, place: int, entry: dict[str, Any]) -> tuple[Branch | None, dict[str, Any]]:
    document = spec.document
    branch = _branch(spec, place, entry)
    domains: dict[str, Domain] = spec.domains if branch is None else spec.domains_of(branch)
    values = {name: value for name, value in entry.items() if name != "objective"}
    for name, value in values.items():
        if name not in domains or name == "seed":
            searched = [known for known in domains if known != "seed"]
            raise document.error(("enqueue", place, name), f"{name!r} is not searched here{did_you_mean(name, searched)}")
        domain = domains[name]
        if not contains(domain, value):
            holds = f"{domain.low:g} to {domain.high:g}" if isinstance(domain, Range) else ", ".join(map(str, domain.samples()))
            raise document.error(("enqueue", place, name), f"expected {name} within the space ({holds}), got {value!r}")
    return branch, values


def _branch(spec: SweepSpec, place: int, entry: dict[str, Any]) -> Branch | None:
    """Return the objective that an entry names; the only one where there is no choice, and None where it names none."""
    if "objective" not in entry:
        return spec.branches[0] if len(spec.branches) == 1 else None
    labels = [branch.label for branch in spec.branches]
    if entry["objective"] not in labels:
        raise spec.document.error(
            ("enqueue", place, "objective"),
            f"no objective {entry['objective']!r} in 'space'{did_you_mean(entry['objective'], labels)}",
        )
    return spec.branches[labels.index(entry["objective"])]
