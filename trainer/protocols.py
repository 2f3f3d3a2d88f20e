"""Protocols: named sets of settings. What is given beside a protocol wins over what the protocol says.

``default`` is what this project recommends: every setting at its default (shuffled, cosine to zero, chosen on held-out images).
``paper`` is that of the authors' code (arXiv 2201.12680; ``facebookresearch/luckmatters``), its quirks included.
"""

from __future__ import annotations

from typing import Any

from trainer.errors import ConfigError, did_you_mean

PROTOCOLS: dict[str, dict[str, Any]] = {
    "default": {},
    "paper": {
        "optimiser": "adam",
        "projector": "mlp",
        "decayed": "all",
        "schedule": "paper",
        "shuffle": False,
        "two_forwards": True,
        "probe": "paper",
        "pretrain_on_held_out": True,
        "lr": 0.01,
        "weight_decay": 0.0,
        "batch_size": 128,
        "projection_dim": 128,
    },
}


def settings_of(protocol: Any) -> dict[str, Any]:
    """Return the settings that a protocol fixes, as plain values by name.

    Raises:
        ConfigError: if there is no such protocol.
    """
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise ConfigError("protocol", f"no protocol {protocol!r}{did_you_mean(str(protocol), PROTOCOLS)}")
    return PROTOCOLS[protocol]
