"""Search spaces: the YAML files that say what a sweep varies, and the loader that validates them."""

from search_spaces.reader import find_space, iter_spaces, load_spec, read_spec
from search_spaces.spec import SweepSpec
from search_spaces.yaml_lines import Document, SpaceError

__all__ = ["Document", "SpaceError", "SweepSpec", "find_space", "iter_spaces", "load_spec", "read_spec"]
