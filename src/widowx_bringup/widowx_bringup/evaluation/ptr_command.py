"""Command lines of `ptr` verbs, from Python arguments."""

from __future__ import annotations


def ptr_command(verb: str, *arguments: object, **options: object) -> list[str]:
    """Return a command line of `ptr`.

    Args:
        verb: Name of the verb.
        arguments: Positional arguments.
        options: Options by name, `_` in place of `-`; a trailing `_` avoids keywords of Python.
            `True` stands for an option without value, `False` for it with `--no-`, None for an
            absent one, a list for one that is repeated.
    """
    words = [verb, *map(str, arguments)]
    for name, value in options.items():
        option = "--" + name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(option)
        elif value is False:
            words.append(option.replace("--", "--no-", 1))
        elif isinstance(value, list):
            for item in value:
                words += [option, str(item)]
        elif value is not None:
            words += [option, str(value)]
    return words
