"""Checks a sweep's data before anything runs, so that settings that they do not allow are refused with the line of the YAML."""

from __future__ import annotations

from collections.abc import Iterator

from search_spaces import SweepSpec
from trainer.config import TrialConfig
from trainer.data import is_prepared
from trainer.errors import ConfigError, UserError
from trainer.image_sources import folder_of, order_warning
from trainer.terminal import complain
from trainer.trial import check_trial


def check_data(spec: SweepSpec, data_root: str | None, only_here: bool = False) -> None:
    """Prepare every dataset of a sweep, so that data that cannot work are refused before anything runs.

    Args:
        spec: the sweep.
        data_root: where downloads and decoded images lie; the default folder when not given.
        only_here: whether datasets that would have to be downloaded are passed over.

    Raises:
        SpaceError: naming the line of the YAML, and what is wrong with the data it names.
    """
    on_data = spec.on_data()
    for line in dict.fromkeys(_warnings(spec, [config for config, _ in on_data])):
        complain(f"alphacl: warning: {line}")
    for config, dataset_path in on_data:
        if only_here and not is_here(config.dataset, data_root):
            continue
        try:
            check_trial(config, data_root)
        except ConfigError as error:
            names_it = dataset_path[1] == error.field
            path = dataset_path if names_it else ("space" if error.field in spec.domains else "trial", error.field)
            raise spec.document.error(path, str(error)) from None
        except UserError as error:
            raise spec.document.error(dataset_path, str(error)) from None


def _warnings(spec: SweepSpec, configs: list[TrialConfig]) -> Iterator[str]:
    """Yield warnings of how these configurations read their images."""
    for config in configs:
        orders = spec.domains["shuffle"].samples() if "shuffle" in spec.domains else [config.shuffle]
        yield from filter(None, (order_warning(config.dataset, bool(shuffle)) for shuffle in orders))


def is_here(dataset: str, data_root: str | None) -> bool:
    """Tell whether a dataset can be had without a download."""
    return dataset == "digits" or folder_of(dataset) is not None or is_prepared(dataset, root=data_root)
