"""How the commands' help looks: with defaults, and an example that keeps its line."""

from __future__ import annotations

import argparse
from typing import Any


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults behind the text of an option, and a description and an example as they are written."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # Where the default is no value, the text says in words what happens.
        number = isinstance(action.default, int | float) and not isinstance(action.default, bool)
        return super()._get_help_string(action) if number or action.default else action.help


def texts(description: str, arguments: str, example: str) -> dict[str, Any]:
    """Return what a command's parser says of it.

    Args:
        description: What the command does, in a sentence.
        arguments: What stands before the options, so that no option with several values takes it.
        example: A command that can be typed as it is.

    Returns:
        Arguments of add_parser.
    """
    return dict(
        help=description,
        description=description,
        usage=f"%(prog)s {arguments} [options]".replace("  ", " "),
        epilog=f"example:\n  singular-edit {example}",
        formatter_class=HelpFormatter,
    )
