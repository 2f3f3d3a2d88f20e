"""Everything that is built in: importing this registers every component of the trainer's own."""

from trainer import encoders, extra_metrics, image_sources, objectives, optimisers, projectors, recipes

__all__ = ["encoders", "extra_metrics", "image_sources", "objectives", "optimisers", "projectors", "recipes"]
