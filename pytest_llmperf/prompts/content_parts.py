"""Decides like vLLM 0.32 if a chat template takes the content of a message as a list of parts or as a text.

A template that loops over ``message.content`` gets ``[{"type": "text", "text": …}]``, any other the plain text
(``_detect_content_format`` in ``vllm/renderers/hf.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2
    from jinja2 import nodes

_CONTENT = "content"


@lru_cache(maxsize=32)
def wants_parts(source: str, environment: jinja2.Environment) -> bool:
    """True where the template loops over the content of a message, itself or in a macro that is given it."""
    from jinja2 import nodes

    tree = environment.parse(source)
    lists = _names_of(tree, "messages")
    loops = list(tree.find_all(nodes.For))
    messages = {
        alias
        for loop in loops
        if isinstance(loop.target, nodes.Name) and any(_is_name(loop.iter, name) for name in lists)
        for alias in _names_of(tree, loop.target.name)
    }
    macros = list(tree.find_all(nodes.Macro))
    in_macros = {id(loop) for macro in macros for loop in macro.find_all(nodes.For)}
    for macro in macros:
        given = _parameters_with_content(tree, macro, messages)
        if any(_is_name(loop.iter, name) for loop in macro.find_all(nodes.For) for name in given):
            return True
    return any(
        any(_is_content_of(loop.iter, message) for message in messages)
        or (id(loop) not in in_macros and isinstance(loop.iter, nodes.Name) and loop.iter.name == _CONTENT)
        for loop in loops
    )


def _names_of(tree: nodes.Template, name: str) -> set[str]:
    """``name``, and the variables that it is assigned to: whole, cut (``messages[1:]``) or filtered."""
    from jinja2 import nodes

    names, new = {name}, [name]
    while new:
        known = new.pop()
        for assignment in tree.find_all(nodes.Assign):
            target = assignment.target
            if (
                isinstance(target, nodes.Name)
                and target.name not in names
                and _is_name(assignment.node, known)
            ):
                names.add(target.name)
                new.append(target.name)
    return names


def _parameters_with_content(tree: nodes.Template, macro: nodes.Macro, messages: set[str]) -> Iterator[str]:
    """Parameters of a macro that some call gives a message's content to."""
    from jinja2 import nodes

    names = [argument.name for argument in macro.args]
    for call in tree.find_all(nodes.Call):
        if not (isinstance(call.node, nodes.Name) and call.node.name == macro.name):
            continue
        given = [*zip(names, call.args, strict=False), *((one.key, one.value) for one in call.kwargs)]
        for name, value in given:
            if name in names and any(_is_content_of(value, message) for message in messages):
                yield name


def _bare(node: nodes.Node) -> nodes.Node:
    """``node`` without filters, tests and slices around it."""
    from jinja2 import nodes

    while True:
        sliced = isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
        if not (isinstance(node, nodes.Filter | nodes.Test) or sliced):
            return node
        inner = node.node  # type: ignore[attr-defined]
        if inner is None:
            return node
        node = inner


def _is_name(node: nodes.Node, name: str) -> bool:
    from jinja2 import nodes

    bare = _bare(node)
    return isinstance(bare, nodes.Name) and bare.ctx == "load" and bare.name == name


def _is_content_of(node: nodes.Node, message: str) -> bool:
    from jinja2 import nodes

    bare = _bare(node)
    if isinstance(bare, nodes.Getitem):
        return (
            isinstance(bare.arg, nodes.Const) and bare.arg.value == _CONTENT and _is_name(bare.node, message)
        )
    return isinstance(bare, nodes.Getattr) and bare.attr == _CONTENT and _is_name(bare.node, message)
