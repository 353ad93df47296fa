"""Files and folders on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from sam2track.errors import UsageError

__all__ = ["PATH"]


class _Named(click.Path):
    """A path that is named: an empty one is a variable that was not set, and no current folder."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if value == "":
            if isinstance(param, click.Argument):
                what = param.human_readable_name
            else:
                what = "a path" if param is None else param.opts[-1]
            raise UsageError(f"{what} is empty; name a file or a folder, . for the current one")
        if value == "-" and isinstance(param, click.Option):
            raise UsageError(
                f"{param.opts[0]} -: nothing is read from or written to a pipe here; name a file "
                f"or a folder, ./- for one of that name"
            )
        if isinstance(param, click.Option):
            from sam2track.arguments import check_no_address

            check_no_address(param.opts[-1], os.fspath(value))
        return super().convert(value, param, ctx)


# Click would tell that a file may not be read as wrong usage, of folders to write to as well.
PATH = _Named(path_type=Path, readable=False)
