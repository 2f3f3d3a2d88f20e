"""YAML that somebody else may have written, read as plain data within bounds: no text can hang or crash a program.

Aliases may not multiply, nesting has a depth, and what has no use in a search space is refused with its line: explicit tags
(``!!python/…`` and ``!!int ''`` alike), whole numbers of hundreds of digits, lone surrogates and control characters.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

from trainer.errors import UserError, first_line

MOST_BYTES = 256 << 10  # of a text; PyYAML reads some 100 kB a second
MOST_NODES, MOST_DEPTH, MOST_DIGITS = 100_000, 40, 100  # values with every alias written out, levels, digits of a whole number
_UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


class BoundedLoader(yaml.SafeLoader):
    """SafeLoader within bounds that reads 1e-3 as a number, as YAML 1.2 does."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node, or refuse it with its line."""
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise _refused(f"the tag {tag} is not read here; leave it out", event.start_mark)
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise _refused(f"nested deeper than {MOST_DEPTH} levels", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode):
            _check_scalar(node)
        return node


BoundedLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def _refused(problem: str, mark: yaml.Mark | None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)


def _check_scalar(node: yaml.ScalarNode) -> None:
    unfit = _UNFIT.search(node.value)
    if unfit:
        raise _refused(f"a text holds the character {ascii(unfit[0])[1:-1]}, which cannot be shown", node.start_mark)
    if node.tag == "tag:yaml.org,2002:int" and len(node.value) > MOST_DIGITS:
        raise _refused(f"a whole number of {len(node.value)} digits; expected at most {MOST_DIGITS}", node.start_mark)


def compose(loader: BoundedLoader) -> yaml.Node | None:
    """Return the root of a text's nodes, which are no more than a program can bear with every alias written out.

    Raises:
        yaml.YAMLError: if the text is no YAML, or goes beyond the bounds.
    """
    node: yaml.Node | None = loader.get_single_node()
    if node is not None:
        _count(node, {}, set())
    return node


def _count(node: yaml.Node, known: dict[int, int], above: set[int]) -> int:
    """Return how many nodes a node is, with every alias written out."""
    if id(node) in above:
        raise _refused("an alias refers to itself", node.start_mark)
    if id(node) in known:
        return known[id(node)]
    above.add(id(node))
    children = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        children = [part for pair in node.value for part in pair]
    total = 1
    for child in children:
        total += _count(child, known, above)
        if total > MOST_NODES:
            raise _refused(f"expected at most {MOST_NODES} values, aliases written out; there are more", node.start_mark)
    above.remove(id(node))
    known[id(node)] = total
    return total


def load(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        UserError: if the text is no YAML, goes beyond the bounds, or holds a value that its form does not allow.
    """
    check_size(text)
    loader = None
    try:
        loader = BoundedLoader(text)
        node = compose(loader)
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise UserError(f"line {line_of(error, text)}: not YAML: {problem_of(error)}") from None
    except (ValueError, OverflowError, TypeError) as error:  # 2020-99-99, a key that is a list
        raise UserError(f"not YAML: {first_line(error, 200)}") from None
    finally:
        if loader is not None:
            loader.dispose()


def check_size(text: str) -> None:
    """Raise UserError where a text is too long to be read."""
    if len(text) > MOST_BYTES:
        raise UserError(f"expected at most {MOST_BYTES} characters, got {len(text)}")


def line_of(error: yaml.YAMLError, text: str) -> int:
    """Return the line that a parser's complaint is about, from 1."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return int(error.problem_mark.line) + 1
    return text.count("\n", 0, getattr(error, "position", None) or 0) + 1


def problem_of(error: yaml.YAMLError) -> str:
    """Return what a parser complains of, in one line."""
    return getattr(error, "problem", None) or getattr(error, "reason", None) or first_line(error, 200)
