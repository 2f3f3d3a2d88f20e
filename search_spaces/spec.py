"""SweepSpec: a validated search space. A grid is enumerated leaf by leaf; a search asks a sampler for one leaf at a time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

from search_spaces.domains import Choice, Domain, Suggester
from search_spaces.search import Budget, EarlyStopping, Resources, Search
from search_spaces.yaml_lines import Document, Path, SpaceError
from trainer.calls import Call
from trainer.config import TrialConfig, describe_fields
from trainer.errors import ConfigError
from trainer.metrics import SELECTION
from trainer.objectives import has_tau

FIELDS = tuple(name for name, _, _ in describe_fields())
SHAPING = ("dataset", "encoder", "batch_size", "image_size", "augmentation", "projector", "projection_dim", "two_forwards")
# Settings that may not suit the images of a dataset.
MEETS_DATA = ("dataset", "images", "image_size", "held_out", "batch_size", "encoder", "projector", "optimiser", "augmentation")


@dataclass(frozen=True)
class Branch:
    """An objective to choose, with domains for its own hyper-parameters.

    Args:
        label: the objective as the YAML names it.
        call: the objective's parsed call string.
        path: where the objective stands in the YAML.
        place: where its hyper-parameters stand.
        own: the domains of its hyper-parameters by name; ``tau`` may be among them.
    """

    label: str
    call: Call
    path: Path
    place: Path
    own: dict[str, Domain] = field(default_factory=dict)

    def objective(self, values: dict[str, Any]) -> str:
        """The call string with these values of its own hyper-parameters."""
        extra = tuple((k, values[k]) for k in self.own if k != "tau")
        return str(Call(self.call.name, self.call.args, (*self.call.kwargs, *extra)))


@dataclass(frozen=True)
class SweepSpec:
    """A sweep to run. ``search`` is None for a grid. ``document`` is the YAML it was read from, as launched."""

    document: Document
    description: str
    fixed: dict[str, Any]
    branches: tuple[Branch, ...]
    domains: dict[str, Domain]
    search: Search | None
    resources: Resources
    retries: int
    early_stopping: EarlyStopping | None
    keep_encoders: int
    plugins: tuple[str, ...]
    budget: Budget = field(default_factory=Budget)
    enqueue: tuple[tuple[Branch | None, dict[str, Any]], ...] = ()

    @property
    def combinations(self) -> int:
        """Return how many combinations of values a grid has; some may be the same configuration."""
        listed = ([d for d in self.domains_of(branch).values() if isinstance(d, Choice)] for branch in self.branches)
        return sum(math.prod(len(domain.values) for domain in domains) for domains in listed)

    def leaves(self) -> list[TrialConfig]:
        """Every configuration of a grid, each once, seeds innermost.

        Raises:
            SpaceError: a combination that is not valid.
        """
        found: dict[str, TrialConfig] = {}
        for branch in self.branches:
            own = {name: domain for name, domain in self.domains_of(branch).items() if isinstance(domain, Choice)}
            for values in itertools.product(*(domain.values for domain in own.values())):
                config = self._build(branch, dict(zip(own, values, strict=True)))
                found.setdefault(config.digest, config)
        order = {name: place for place, name in enumerate(self.domains.get("dataset", Choice(("",))).samples())}
        return sorted(found.values(), key=lambda c: order.get(c.dataset, 0))

    def suggest(self, trial: Suggester) -> TrialConfig:
        """The configuration a sampler proposes: an objective first, then its own hyper-parameters, then what is common."""
        labels = tuple(branch.label for branch in self.branches)
        label = Choice(labels).suggest(trial, "objective")
        branch = self.branches[labels.index(label)]
        names = self._names(branch)
        return self._build(branch, {name: domain.suggest(trial, names[name]) for name, domain in self.domains_of(branch).items()})

    def _names(self, branch: Branch) -> dict[str, str]:
        """Return the names of the study's parameters for the domains of a branch."""
        return {name: f"{branch.label}.{name}" if name in branch.own else name for name in self.domains_of(branch)}

    def as_params(self, branch: Branch | None, values: dict[str, Any]) -> dict[str, Any]:
        """Return values of a branch's domains as the study's parameters; a choice that is none is no parameter."""
        domains = self.domains if branch is None else self.domains_of(branch)
        names = {name: name for name in domains} if branch is None else self._names(branch)
        asked = {k: v for k, v in values.items() if not isinstance(domains[k], Choice) or len(domains[k].samples()) > 1}
        label = {} if branch is None or len(self.branches) == 1 else {"objective": branch.label}
        return {**label, **{names[name]: value for name, value in asked.items()}}

    def enqueued(self) -> list[dict[str, Any]]:
        """Return the settings that the search tries first, as the study's parameters; of a family's spec those of the family."""
        labels = {branch.label for branch in self.branches}
        return [self.as_params(branch, v) for branch, v in self.enqueue if branch is None or branch.label in labels]

    def of_family(self, label: str) -> SweepSpec:
        """Return the same sweep with one objective of its space alone."""
        return dataclasses.replace(self, branches=tuple(branch for branch in self.branches if branch.label == label))

    @property
    def text(self) -> str:
        """Return the YAML, as launched."""
        return self.document.text

    @property
    def kind(self) -> str:
        """Return ``search``, or ``grid`` for one that is enumerated."""
        return "search" if self.search else "grid"

    @property
    def metric(self) -> str:
        """What the best trials are told by: the search's own metric, or held-out accuracy."""
        return self.search.metric if self.search else SELECTION

    @property
    def trials(self) -> int:
        """How many trials the sweep has, if none of a search's suggestions is stopped early."""
        if self.search is None:
            return len(self.leaves())
        sizes = [math.prod(domain.size for domain in self.domains_of(branch).values()) for branch in self.branches]
        return sum(map(self.search.planned, sizes)) if self.search.per_family else self.search.planned(sum(sizes))

    @property
    def alike(self) -> int:
        """Return about how many trials have the same tensor shapes, and so can share what a compiler makes for one of them."""
        shapes = math.prod(len(domain.values) for name in SHAPING if isinstance(domain := self.domains.get(name), Choice))
        return max(1, self.trials // shapes)

    def repeats(self, config: TrialConfig) -> list[TrialConfig]:
        """The trials of a suggestion: one for each seed that it is repeated with."""
        seeds = self.search.repeat if self.search else ()
        return [dataclasses.replace(config, seed=seed) for seed in seeds] or [config]

    def on_data(self) -> list[tuple[TrialConfig, Path]]:
        """A configuration for every dataset and everything else that meets the data, with its place in the YAML."""
        branch = self.branches[0]
        first = {name: domain.samples()[0] for name, domain in self.domains_of(branch).items()}
        found: list[tuple[TrialConfig, Path]] = [(self._build(branch, first), ("trial", "dataset"))]
        for name in MEETS_DATA:
            for place, value in enumerate(self.domains[name].samples() if name in self.domains else ()):
                found.append((self._build(branch, {**first, name: value}), ("space", name, place)))
        return found if "dataset" not in self.domains else found[1:]

    def domains_of(self, branch: Branch) -> dict[str, Domain]:
        """What is to be decided once the objective is: its own hyper-parameters, then the rest, seeds last."""
        shared = dict(self.domains)
        if not has_tau(str(branch.call)):
            shared.pop("tau", None)
        seed = shared.pop("seed", None)
        return {**branch.own, **{k: v for k, v in shared.items() if k not in branch.own}, **({"seed": seed} if seed else {})}

    def _build(self, branch: Branch, values: dict[str, Any]) -> TrialConfig:
        settings = {**self.fixed, **{k: v for k, v in values.items() if k in FIELDS and k not in branch.own}}
        if "tau" in branch.own:
            settings["tau"] = values["tau"]
        try:
            return TrialConfig.from_dict({**settings, "objective": branch.objective(values)})
        except ConfigError as error:
            raise self._blame(error, branch, values) from None

    def _blame(self, error: ConfigError, branch: Branch, values: dict[str, Any]) -> SpaceError:
        """The complaint, at the line that gave the value."""
        name = error.field
        if name == "objective":
            return self.document.error(branch.path, str(error))
        if name in branch.own:
            return self.document.error((*branch.place, name), str(error))
        if name in self.domains:
            place = self.domains[name].samples().index(values[name]) if values.get(name) in self.domains[name].samples() else 0
            return self.document.error(("space", name, place), str(error))
        return self.document.error(("trial", name), str(error))

    def check(self) -> None:
        """Build a configuration with every value that stands in the space, one departure from the first at a time.

        Raises:
            SpaceError: the first value that is not valid, with its line.
        """
        for branch in self.branches:
            domains = self.domains_of(branch)
            first = {name: domain.samples()[0] for name, domain in domains.items()}
            self._build(branch, first)
            for name, domain in domains.items():
                for value in domain.samples()[1:]:
                    self._build(branch, {**first, name: value})
