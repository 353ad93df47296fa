"""``sam2track``: the group of commands, and how errors become one line and an exit status."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from typing import Any

import click

from sam2track.errors import Sam2TrackError

__all__ = ["main"]

_COMMANDS = {
    "info": "Say what a project holds.",
    "open": "Open a video or a project in napari.",
    "replay": "Do again what was done in a project.",
    "sample": "Write a sample clip with its prompts and ground truth.",
    "track": "Follow objects through a video.",
}


class _Lazy(click.Group):
    """Imports a command's module when the command is used, not for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"sam2track.cli.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Sam2TrackError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            click.echo(f"sam2track: {' '.join(str(error).split())}", err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo("sam2track: interrupted", err=True)
            ctx.exit(130)
        except BrokenPipeError:
            # Who read our output is gone; nothing more is to be said on it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(1)
        except OSError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            click.echo(f"sam2track: {' '.join(str(error).split())}", err=True)
            ctx.exit(1)
        except MemoryError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            click.echo(f"sam2track: out of memory ({error}); what was done is kept", err=True)
            ctx.exit(1)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.version_option(package_name="sam2track")
def main(debug: bool) -> None:
    """Follow objects through videos and time-lapses with SAM 2."""


if __name__ == "__main__":
    main()
