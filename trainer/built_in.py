"""Everything that is built in: importing this registers every component of the trainer's own."""

from trainer import encoders, extra_metrics, objectives, optimisers, projectors, recipes, sources

__all__ = ["encoders", "extra_metrics", "objectives", "optimisers", "projectors", "recipes", "sources"]
