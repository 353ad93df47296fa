"""``sam2track doctor``: what is here and what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict

import click

__all__ = ["command"]

_MARKS = {"ok": "ok", "note": "--", "problem": "!!"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for a bug report.")
def command(as_json: bool) -> None:
    """Say what is on this machine, what is wrong and what to do: a line each.

    The exit status is 1 where there is a problem (!!); what is missing but not needed by
    everybody (--) is none.
    """
    from sam2track.doctor import examine

    found = examine()
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            fix = f"; {finding.fix}" if finding.fix else ""
            click.echo(f"{_MARKS[finding.state]} {finding.what}: {finding.found}{fix}")
    if any(finding.state == "problem" for finding in found):
        click.get_current_context().exit(1)
