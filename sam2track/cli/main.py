"""``sam2track``: the group of commands, and how errors become one line and an exit status."""

from __future__ import annotations

import importlib
import io
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import click

from sam2track.cli.telling import say_no_more, tell, warn
from sam2track.errors import Sam2TrackError
from sam2track.faults import explained
from sam2track.interrupts import ending, hear_again
from sam2track.terminal import one_line

__all__ = ["main"]

_COMMANDS = {
    "batch": "Follow objects through many videos.",
    "count": "Count objects, crossings of lines, and entries of regions.",
    "doctor": "Say what is here, what is wrong and what to do.",
    "eval": "Compare masks with a ground truth.",
    "export": "Write a project in formats that other tools read.",
    "image": "Find objects in single pictures.",
    "import": "Make a project of masks that another tool made.",
    "info": "Say what a project holds.",
    "measure": "Measure all objects of a project.",
    "models": "List, download, find, verify and describe models.",
    "open": "Open a video or a project in napari.",
    "render": "Make a video or pictures of a project's objects.",
    "replay": "Do again what was done in a project.",
    "report": "Write one page on a project.",
    "review": "List the frames most worth looking at.",
    "sample": "Write a sample clip with its prompts and ground truth.",
    "track": "Follow objects through a video.",
}


def _show(message: Warning | str, *_: object) -> None:
    """Print a warning as one line, without where in the code it comes from."""
    warn(message)


def _was_said(error: BaseException) -> bool:
    """Whether an error came of what was to be printed, which bears no name."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is click.echo.__code__ for frame, _ in frames)


def _told_by(error: OSError) -> click.ClickException | None:
    """Return what click was telling of when this came; None where it was nothing wrong."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    told = (frame.f_locals.get("self") for frame in frames)
    return next((one for one in told if isinstance(one, click.ClickException)), None)


def _unsaid(error: OSError) -> str:
    """What to say where standard output cannot be written."""
    return f"cannot write standard output: {error.strerror}; write it elsewhere"


def _status(error: BaseException) -> int:
    """With which status to end where something cannot be said; of an interruption, its own."""
    return 130 if isinstance(error.__context__, KeyboardInterrupt) else 1


class _Lazy(click.Group):
    """Imports a command's module when the command is used, not for ``--help``."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            # Names of files may be no text, and what was done is told all the same.
            if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().main(*args, **kwargs)
        except OSError as error:  # of what click says by itself: help, and what is wrong usage
            wrong = _told_by(error)
            if wrong is not None:
                say_no_more(sys.stderr.fileno())
                sys.exit(wrong.exit_code)
            if not _was_said(error):
                raise
            say_no_more(sys.stdout.fileno())
            tell(f"sam2track: {_unsaid(error)}")
            sys.exit(1)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run as a process of its own, which ends with it, unless somebody hands over arguments.

        Whose process it is then goes on: in a notebook Ctrl-C would end all that was worked out.
        """
        if args or "args" in kwargs:
            return self.main(*args, **kwargs)
        hear_again()
        try:
            return self.main(*args, **kwargs)
        except SystemExit as end:
            ending(end.code if isinstance(end.code, int) else 1)
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        # "import" is no name that a module may have.
        name = "import_" if cmd_name == "import" else cmd_name
        module = importlib.import_module(f"sam2track.cli.{name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(sorted(_COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        try:
            Path.cwd()
        except OSError:  # libraries would end the process
            tell("sam2track: the current folder is gone; change to one that is there")
            ctx.exit(1)
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show  # type: ignore[assignment]
                return super().invoke(ctx)
        except Sam2TrackError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            tell(f"sam2track: {one_line(error)}")
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            tell("sam2track: interrupted")
            ctx.exit(130)
        except BrokenPipeError as error:
            say_no_more(sys.stdout.fileno())  # who read our output is gone
            ctx.exit(_status(error))
        except OSError as error:
            if ctx.params.get("debug"):
                traceback.print_exc()
            said = str(explained(error) or error)
            if error.filename is not None and error.strerror:  # as [Errno 36], a name too long
                said = f"{error.filename}: {error.strerror}; check this path"
            elif _was_said(error):
                said = _unsaid(error)
                say_no_more(sys.stdout.fileno())
            tell(f"sam2track: {one_line(said)}")
            ctx.exit(_status(error))
        except click.ClickException:
            raise
        except Exception as error:  # that of OpenCV, for one, inherits nothing of use
            known = explained(error)
            if known is None or ctx.params.get("debug"):
                raise
            tell(f"sam2track: {one_line(known)}")
            ctx.exit(known.exit_code)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show where an error comes from.")
@click.version_option(package_name="sam2track")
def main(debug: bool) -> None:
    """Follow objects through videos and time-lapses with SAM 2."""
