"""YAML documents that know the line of every key and value, so that an error message can point at it."""

from __future__ import annotations

from typing import Any

import yaml

from trainer import bounded_yaml
from trainer.bounded_yaml import BoundedLoader
from trainer.errors import UserError, first_line

Path = tuple[str | int, ...]  # ("space", "objective", 2): keys and list places from the top


class SpaceError(UserError):
    """Error in a search space; its message begins with ``file:line``, or with the ``--set`` option that gave the value."""


class Document:
    """A parsed YAML file that knows on which line each value stands.

    ``data`` is the parsed content and ``text`` the YAML; both follow :meth:`override`.

    Args:
        text: the YAML.
        source: the name that error messages begin with, such as the file's.

    Raises:
        SpaceError: if the text is not YAML, gives a key twice, or goes beyond the bounds of :mod:`trainer.bounded_yaml`.
    """

    def __init__(self, text: str, source: str) -> None:
        self.source, self.text = source, text
        self._places: dict[Path, str] = {(): f"{source}:1"}
        loader = None
        try:
            bounded_yaml.check_size(text)
            loader = BoundedLoader(text)
            node = bounded_yaml.compose(loader)
            self.data: Any = None if node is None else self._build(loader, node, ())
        except SpaceError:
            raise
        except UserError as error:
            raise SpaceError(f"{source}: {error}") from None
        except yaml.YAMLError as error:
            raise SpaceError(
                f"{source}:{bounded_yaml.line_of(error, text)}: not YAML: {bounded_yaml.problem_of(error)}"
            ) from None
        finally:
            if loader is not None:
                loader.dispose()

    def _build(self, loader: BoundedLoader, node: yaml.Node, path: Path) -> Any:
        self._places.setdefault(path, f"{self.source}:{node.start_mark.line + 1}")
        if isinstance(node, yaml.MappingNode):
            found: dict[str, Any] = {}
            seen: set[str] = set()
            own = {id(key_node) for key_node, _ in node.value}
            loader.flatten_mapping(node)  # merge keys, <<: *alias; what is merged comes first and may be overridden
            for key_node, value_node in node.value:
                key = str(self._construct(loader, key_node))
                if key in seen:
                    raise SpaceError(f"{self.source}:{key_node.start_mark.line + 1}: the key {key!r} is given twice")
                if id(key_node) in own:
                    seen.add(key)
                self._places[(*path, key)] = f"{self.source}:{key_node.start_mark.line + 1}"
                found[key] = self._build(loader, value_node, (*path, key))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self._build(loader, child, (*path, place)) for place, child in enumerate(node.value)]
        return self._construct(loader, node)

    def _construct(self, loader: BoundedLoader, node: yaml.Node) -> Any:
        try:
            return loader.construct_object(node, deep=True)
        except (ValueError, OverflowError) as error:  # what looks like a date and is none, as 2020-99-99
            place = f"{self.source}:{node.start_mark.line + 1}"
            raise SpaceError(f"{place}: cannot read the value: {first_line(error, 200)}") from None

    def error(self, path: Path, message: str) -> SpaceError:
        """Return a SpaceError about the value at ``path``, or about the nearest enclosing value that the document has."""
        while path not in self._places:
            path = path[:-1]
        return SpaceError(f"{self._places[path]}: {message}")

    def override(self, path: tuple[str, ...], text: str, option: str) -> None:
        """Set the value at ``path`` from the command line; later errors about it name ``option`` in place of a line.

        Args:
            path: the keys from the top of the document to the value.
            text: the value as YAML.
            option: the command line's option, such as ``--set epochs=5``.

        Raises:
            SpaceError: if ``text`` is not YAML, or a key on the way to the value holds a plain value.
        """
        target = self.data
        for key in path[:-1]:
            if target.get(key) is None:
                target[key] = {}
            target = target[key]
            if not isinstance(target, dict):
                raise SpaceError(f"{option}: {key!r} holds {target!r}, no 'key: value' lines")
        target[path[-1]] = Document(text, option).data
        for known in [p for p in self._places if p[: len(path)] == path]:
            del self._places[known]
        self._places[path] = option
        self.text = yaml.safe_dump(self.data, sort_keys=False, allow_unicode=True)
