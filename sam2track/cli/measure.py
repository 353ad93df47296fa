"""``sam2track measure``: tables of measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm
from sam2track.cli.reading import check_each_apart, counted, print_json, print_table, results_of
from sam2track.cli.telling import warn

__all__ = ["command"]


@click.command("measure")
@click.argument("project", type=PATH)
@click.option("-o", "--output", type=PATH, help="CSV: object and frame.")
@click.option("--objects", type=PATH, help="CSV: one row an object.")
@click.option("--source", help="The video, if no longer where the project says.")
@click.option("--no-intensity", is_flag=True, help="Do not read the pictures.")
@click.option("--pixel-size", type=float, metavar="UM", help="Side of a pixel in micrometres.")
@click.option("--frame-interval", type=float, metavar="S", help="Seconds from frame to frame.")
@click.option("--json", "as_json", is_flag=True, help="Print the objects as JSON.")
def command(
    project: Path,
    output: Path | None,
    objects: Path | None,
    source: str | None,
    no_intensity: bool,
    pixel_size: float | None,
    frame_interval: float | None,
    as_json: bool,
) -> None:
    """Measure all objects of PROJECT, a .s2t file or the folder that holds one.

    Prints one row for each object; -o writes one for each object and frame.
    """
    interrupt_on_sigterm()
    with results_of(project) as results:
        from sam2track.footage import Footage, open_footage
        from sam2track.measure import Scale, cells, measured, object_columns, summarised
        from sam2track.table import TableWriter

        check_each_apart((output, objects), results.path, source or str(results.meta.get("source")))
        scale = Scale.of(results.meta, pixel_size_um=pixel_size, frame_interval_s=frame_interval)
        wanted = output is not None and not no_intensity
        footage = Footage(None, "")
        if wanted or source is not None:  # who names pictures is told where they cannot be used
            footage = open_footage(results, source)
        if wanted and footage.problem:
            rest = "its intensities are taken all the same" if footage.source else "no intensities"
            warn(f"{footage.problem}; {rest}")
        try:
            # Both are opened first: what cannot be written is told before all is measured, and one
            # table gets its name with the other alone.
            with ExitStack() as files, counted("measuring", 2 * len(results.frames)) as step:
                made = measured(
                    results, source=footage.source if wanted else None, scale=scale, progress=step
                )
                names = object_columns(scale)
                table = (
                    None
                    if output is None
                    else files.enter_context(TableWriter(output, made.columns))
                )
                summary = (
                    None if objects is None else files.enter_context(TableWriter(objects, names))
                )

                def rows() -> Iterator[dict[str, Any]]:
                    for row in made.rows:
                        if table is not None:
                            table.write_cells(cells(row, made.columns))
                        yield row

                _, found = summarised(rows(), scale=scale)
                if summary is not None:
                    for row in found:
                        summary.write_cells(cells(row, names))
        finally:
            if footage.source is not None:
                footage.source.close()
        warn(*made.warnings)
        if as_json:
            print_json({"objects": [{name: row.get(name) for name in names} for row in found]})
        else:
            print_table(names, (cells(row, names) for row in found))
