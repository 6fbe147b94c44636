"""Reads YAML of any origin within bounds of memory and time."""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_YAML_VALUES = 1_000_000
MAX_YAML_DEPTH = 100
"""Size of a YAML document with its aliases; a card of 100,000 sources has 400,000 values."""


def parse_yaml(text: str | bytes) -> Any:
    """Return the plain values of a YAML document.

    Raises:
        yaml.YAMLError: If it is none, or unpacks to more than a file of ours or a recording
            ever holds: aliases may make a few bytes into any number of values.
    """
    # Both loaders build plain values only and refuse tags that name Python objects, as
    # yaml.safe_load does. The one written in C, where PyYAML has it, is ten times as fast.
    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    _check_yaml_depth(text, kind)
    loader = kind(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_yaml_size(node, {})
        return loader.construct_document(node)
    except (RecursionError, ValueError, TypeError) as error:
        # values that look like a date or a number and are none
        raise yaml.YAMLError(f"damaged: {error}") from error
    finally:
        loader.dispose()


def _check_yaml_depth(text: str | bytes, kind: Any) -> None:
    """Raise yaml.YAMLError if a document is nested too deep for a loader, which may crash.

    Args:
        text: The document.
        kind: The loader.
    """
    data = text.encode() if isinstance(text, str) else text
    indented = max(map(len, re.findall(rb"^[-?: \t\0]+", data, re.MULTILINE)), default=0)
    if indented + data.count(b"[") + data.count(b"{") <= MAX_YAML_DEPTH:
        return  # as a rule; to look at every part takes as long as to load it
    depth = 0
    for event in yaml.parse(text, Loader=kind):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise yaml.YAMLError(f"nested in more than {MAX_YAML_DEPTH} levels")


def _check_yaml_size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return the number of values that a node of a YAML document unpacks to.

    Args:
        node: The node.
        sizes: Those of nodes that were counted before, by identity; gains this one.

    Raises:
        yaml.YAMLError: If it is too large or contains itself.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise yaml.YAMLError("contains itself")
        return sizes[id(node)]
    sizes[id(node)] = 0  # for an alias within the node
    size = 1
    if isinstance(node, yaml.CollectionNode):
        for child in node.value:
            for part in child if isinstance(child, tuple) else (child,):
                size += _check_yaml_size(part, sizes)
    if size > MAX_YAML_VALUES:
        raise yaml.YAMLError(f"unpacks to more than {MAX_YAML_VALUES} values")
    sizes[id(node)] = size
    return size
