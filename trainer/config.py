"""The configuration of a trial: everything that decides its metrics, and nothing else.

Importing this is cheap: PyTorch comes with the first configuration, so that whoever only lists the settings does without.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainer.calls import FORMULA, parse_call
from trainer.errors import ConfigError, UserError, did_you_mean, is_number
from trainer.protocols import PROTOCOLS, settings_of
from trainer.registry import spell_out

SCHEDULES = ("cosine", "cosine_epochs", "constant", "paper")
CALLS = {"augmentation": ("auto",), "optimiser": (), "projector": (), "encoder": ("auto",)}  # and other words they may be
DECAYED = ("all", "weights")  # what weight decay is applied to
PRECISIONS = ("auto", "float32", "bf16")
PROBES = ("exact", "paper")
MOST, MOST_EPOCHS, MOST_WIDTH = 10**9, 10**7, 10**6  # of whole numbers; nobody waits for more
PROTOCOL_HELP = "default, or paper (the settings of the paper's code); settings given beside it win"


def _setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


class _Resolving(type):
    """Makes ``TrialConfig(protocol="paper", …)`` the configuration with the protocol's settings spelled out."""

    def __call__(cls, *args: Any, protocol: Any = "default", **settings: Any) -> Any:
        return super().__call__(*args, **{**settings_of(protocol), **settings})


@dataclass(frozen=True)
class TrialConfig(metaclass=_Resolving):
    """The settings of one trial: what to pretrain on, with which objective and recipe, and how the encoder is probed.

    A configuration is frozen, and checked when built. Two of them with the same :attr:`digest` are the same trial. Where it runs
    (device, threads, data folder) is no part of it: see :func:`trainer.trial.run_trial`. Besides its fields it takes
    ``protocol``, the name of a set of settings (:mod:`trainer.protocols`), which is resolved at once: spelled out it is the
    same configuration.

    Raises:
        ConfigError: if a field has a wrong value; the error's ``field`` says which.
    """

    dataset: str = _setting("digits", "digits, cifar10, cifar100, stl10, or folder:PATH with train/<class>/* and test/<class>/*")
    objective: str = _setting("infonce", "a call string such as infonce, direct(p=4), uniform")
    tau: float | None = _setting(0.5, "temperature; dropped for objectives that have none")
    epochs: int = _setting(100, "pretraining epochs; 0 probes the untrained encoder")
    seed: int = _setting(0, "seeds the weights, the order of images and the augmentation")
    read_at: tuple[int, ...] = _setting((), "epochs at which test accuracy is read besides the last, e.g. 100,300")
    encoder: str = _setting(
        "auto", "auto, convnet(width=32), resnet18(width=64, stem='auto'), resnet34, resnet50, timm('convnext_atto')"
    )
    projector: str = _setting("mlp", "mlp(hidden=0, layers=2, norm=true), linear, none")
    projection_dim: int = _setting(128, "dimension of the embeddings")
    batch_size: int = _setting(128, "images per step (two views each); the last partial batch is dropped")
    optimiser: str = _setting("adam", "adam, adamw, sgd(momentum=0.9, nesterov=false), lars(momentum=0.9, trust=0.001)")
    lr: float = _setting(0.001, "learning rate (the paper's long runs: 0.01)")
    lr_per_256: float | None = _setting(
        None, "learning rate for 256 images per step, in place of lr: lr = this × batch_size / 256"
    )
    weight_decay: float = _setting(0.0, "weight decay")
    decayed: str = _setting("all", "what weight decay is applied to: all, or weights (not norms and biases)")
    warmup: int = _setting(0, "epochs in which the rate rises from zero to lr")
    schedule: str = _setting(
        "cosine", "cosine (to zero), cosine_epochs (stepped once an epoch), constant, or paper (T_max = steps per epoch)"
    )
    shuffle: bool = _setting(True, "a new order of images every epoch (the paper's code: false)")
    two_forwards: bool = _setting(True, "a forward pass per view, BatchNorm sees each alone; false: one pass over both")
    augmentation: str = _setting("auto", "auto (by dataset), cifar(crop=0.2, jitter=0.4, grayscale=0.1, …), stl10, digits, none")
    images: int | None = _setting(None, "use only this many training images, class by class in turn; all when not given")
    image_size: int | None = _setting(None, "side in pixels that images of a folder are brought to")
    held_out: float = _setting(0.1, "share of the training split held out to choose hyper-parameters on")
    pretrain_on_held_out: bool = _setting(False, "pretrain on the held-out images too, without labels, as the paper does")
    probe_every: int | None = _setting(None, "epochs between probes of the held-out images; a tenth of the run when not given")
    probe: str = _setting("exact", "exact, or paper: beside it test/linear_paper, the best test epoch as in the paper's code")
    probe_projector: bool = _setting(False, "probe the projector's output too, as test/linear_projector and the like")
    knn_k: int = _setting(200, "neighbours of the kNN probe (a tenth of the images at most)")
    precision: str = _setting("auto", "auto, float32, bf16 (auto: for ResNets what is faster here, measured once)")

    def __post_init__(self) -> None:
        from trainer.formulas import canonical
        from trainer.objectives import has_tau

        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, _typed(f.name, str(f.type), getattr(self, f.name)))
        if self.lr_per_256 is not None and self.lr_per_256 > 0:
            object.__setattr__(self, "lr", self.lr_per_256 * self.batch_size / 256)
        _check(self)
        object.__setattr__(self, "optimiser", str(parse_call(self.optimiser)))
        object.__setattr__(self, "projector", str(parse_call(self.projector)))
        if self.projector == "none":  # its embeddings are as wide as the features
            object.__setattr__(self, "projection_dim", TrialConfig.projection_dim)
        if not has_tau(self.objective):
            object.__setattr__(self, "tau", None)
        call = parse_call(self.objective)
        object.__setattr__(self, "objective", str(canonical(call) if call.name == FORMULA else call))
        object.__setattr__(self, "read_at", tuple(sorted(set(self.read_at) - {self.epochs})))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrialConfig:
        """Build a configuration from plain values, as in YAML or JSON.

        Raises:
            ConfigError: if a key is unknown or a value is wrong; the error's ``field`` says which.
        """
        names = [name for name, _, _ in describe_fields()]
        for key in values:
            if key not in names:
                raise ConfigError(str(key), f"unknown key {key!r}{did_you_mean(key, names)}")
        made = cls(**values)
        if values.get("lr_per_256") is not None and values.get("lr", made.lr) != made.lr:
            raise ConfigError("lr_per_256", f"lr={values['lr']} is given too; keep one of lr and lr_per_256")
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values, ready for JSON; ``from_dict`` is the inverse."""
        return {**dataclasses.asdict(self), "read_at": list(self.read_at)}

    @functools.cached_property
    def digest(self) -> str:
        """Return 16 hex digits that name this trial, the same for any spelling of its objective (``direct``, ``direct(p=4)``)."""
        from trainer.objectives import make_objective

        values = self.to_dict()
        del values["lr_per_256"]  # which lr is made of
        values["objective"] = make_objective(self.objective, self.tau).name
        # A field at its default is left out, so that a setting added later keeps the names of old trials.
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        defaults |= {"read_at": [], "objective": None, "tau": 0}  # the last two always count
        for name, words in CALLS.items():
            values[name], defaults[name] = (spell_out(name, str(text), words) for text in (values[name], defaults[name]))
        kept = {k: v for k, v in values.items() if v != defaults[k]}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def protocol(self) -> str:
        """Return the protocol whose settings these are: ``paper``, ``default``, or ``mixed`` where they are neither's.

        Rates and sizes are free in ``default``: they are what a sweep tunes. ``paper`` fixes them too.
        """
        paper = PROTOCOLS["paper"]
        if all(getattr(self, name) == value for name, value in paper.items()):
            return "paper"
        choices = [f for f in dataclasses.fields(self) if isinstance(paper.get(f.name), (bool, str))]
        return "default" if all(getattr(self, f.name) == f.default for f in choices) else "mixed"

    @property
    def probe_epochs(self) -> frozenset[int]:
        """Return the epochs at which the held-out images are probed; the last epoch is always among them."""
        every = self.probe_every or max(1, math.ceil(self.epochs / 10))
        return frozenset(range(every, self.epochs + 1, every)) | set(self.read_at) | {self.epochs}


def describe_fields() -> list[tuple[str, Any, str]]:
    """Return (name, default, help text) of every setting, ``protocol`` first."""
    fields = [(f.name, f.default, f.metadata["help"]) for f in dataclasses.fields(TrialConfig)]
    return [("protocol", "default", PROTOCOL_HELP), *fields]


def _typed(name: str, annotation: str, value: Any) -> Any:
    """The value as its field's type, or a ConfigError that says what was expected."""
    kind, _, optional = annotation.partition(" | ")
    if value is None and optional:
        return None
    number = is_number(value)
    if kind == "int" and number and value == int(value):
        return int(value)
    if kind == "float" and number:
        return float(value)
    if (kind == "bool" and isinstance(value, bool)) or (kind == "str" and isinstance(value, str)):
        return value
    if kind.startswith("tuple"):
        values = value if isinstance(value, (list, tuple)) else [value]
        return tuple(_typed(name, "int", v) for v in values)
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text"}
    raise ConfigError(name, f"expected {name} to be {words[kind]}, got {name}={value!r}")


def _check(c: TrialConfig) -> None:
    """The rules that a trial's values obey, each with a message that names rule and value."""
    from trainer import built_in  # noqa: F401 - registers what is named here
    from trainer.image_sources import check_dataset_name
    from trainer.objectives import make_objective

    if c.seed >= 2**63:
        raise ConfigError("seed", f"expected seed < 2**63, got seed={c.seed}")
    at_least = {"epochs": 0, "seed": 0, "projection_dim": 1, "batch_size": 2, "weight_decay": 0, "warmup": 0, "knn_k": 1}
    optional = {"images": 10, "image_size": 4, "probe_every": 1}
    for name, low in {**at_least, **optional}.items():
        value = getattr(c, name)
        if value is not None and value < low:
            raise ConfigError(name, f"expected {name} >= {low}, got {name}={value}")
    at_most = dict.fromkeys((*at_least, *optional), MOST) | {"epochs": MOST_EPOCHS, "projection_dim": MOST_WIDTH}
    for name, most in at_most.items():
        value = getattr(c, name)
        if value is not None and value > most and name != "seed":
            raise ConfigError(name, f"expected {name} <= {most}, got {name}={value:g}")
    if c.lr_per_256 is not None and c.lr_per_256 <= 0:
        raise ConfigError("lr_per_256", f"expected lr_per_256 > 0, got lr_per_256={c.lr_per_256}")
    if c.warmup >= max(c.epochs, 1) and c.warmup > 0:
        raise ConfigError("warmup", f"expected warmup < epochs={c.epochs}, got warmup={c.warmup}")
    if c.warmup and c.schedule == "paper":
        raise ConfigError("warmup", f"schedule=paper has no warm-up; expected warmup=0, got warmup={c.warmup}")
    if c.lr <= 0:
        raise ConfigError("lr", f"expected lr > 0, got lr={c.lr}")
    if not 0 < c.held_out < 1:
        raise ConfigError("held_out", f"expected 0 < held_out < 1, got held_out={c.held_out}")
    named = {"schedule": SCHEDULES, "decayed": DECAYED, "precision": PRECISIONS, "probe": PROBES}
    for name, choices in named.items():
        if getattr(c, name) not in choices:
            raise ConfigError(name, f"no {name} {getattr(c, name)!r}{did_you_mean(getattr(c, name), choices)}")
    if c.image_size is not None and not c.dataset.startswith("folder:"):
        raise ConfigError("image_size", f"image_size is for folder:PATH alone; {c.dataset} has its own size")
    for epoch in c.read_at:
        if not 0 < epoch <= c.epochs:
            raise ConfigError("read_at", f"expected epochs between 1 and epochs={c.epochs} in read_at, got {epoch}")
    with blaming("dataset"):
        check_dataset_name(c.dataset)
    for name, words in CALLS.items():
        with blaming(name):
            spell_out(name, getattr(c, name), words)
    with blaming("objective"):
        make_objective(c.objective, c.tau)


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Turn a UserError of the block into a ConfigError of the field ``name``; one that names its field passes through."""
    try:
        yield
    except ConfigError:
        raise
    except UserError as error:
        raise ConfigError(name, str(error)) from None
