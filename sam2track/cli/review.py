"""``sam2track review``: where to look."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm
from sam2track.cli.reading import check_each_apart, counted, print_json, print_table, results_of
from sam2track.cli.telling import warn
from sam2track.errors import UsageError

__all__ = ["command"]


@click.command("review")
@click.argument("project", type=PATH)
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, 500),
    default=20,
    show_default=True,
    help="Frames to list.",
)
@click.option(
    "--gap",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Frames between two of one object.",
)
@click.option("--sheet", type=PATH, help="PNG: crops with outlines.")
@click.option("-o", "--output", type=PATH, help="CSV: the list.")
@click.option("--source", help="The video, if no longer where the project says.")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def command(
    project: Path,
    count: int,
    gap: int,
    sheet: Path | None,
    output: Path | None,
    source: str | None,
    as_json: bool,
) -> None:
    """List the frames of PROJECT most worth looking at, worst first.

    PROJECT is a .s2t file or the folder that holds one.
    """
    interrupt_on_sigterm()
    with results_of(project) as results:
        from sam2track import review
        from sam2track.export.staging import write_bytes
        from sam2track.footage import Footage, open_footage
        from sam2track.table import TableWriter

        check_each_apart((output, sheet), results.path, source or str(results.meta.get("source")))
        if sheet is not None and sheet.suffix.lower() != ".png" and not sheet.is_dir():
            raise UsageError(f"{sheet}; a sheet is a picture that ends in .png")
        footage = Footage(None, "")
        if sheet is not None or source is not None:  # named ones that cannot be used are refused
            footage = open_footage(results, source)
        with ExitStack() as files:
            # Opened first, and named last: without the sheet nothing is left of it.
            table = (
                None if output is None else files.enter_context(TableWriter(output, review.COLUMNS))
            )
            with counted("reviewing", len(results.frames)) as step:
                looks = review.worst(results, count=count, gap=gap, progress=step)
            rows = [review.cells(rank, look) for rank, look in enumerate(looks, start=1)]
            if table is not None:
                for row in rows:
                    table.write_cells(row)
            if sheet is not None:
                import io

                from PIL import Image

                if footage.problem:
                    shown = "it" if footage.source else "masks only"
                    warn(f"{footage.problem}; the sheet shows {shown}")
                pictures = review.crops(results, looks, footage.source)
                packed = io.BytesIO()
                Image.fromarray(review.contact_sheet(looks, pictures)).save(packed, "PNG")
                write_bytes(sheet, packed.getvalue())
        if footage.source is not None:
            footage.source.close()
        if as_json:
            print_json(
                {
                    "looks": [
                        {
                            "frame": look.frame,
                            "time_s": look.time,
                            "object": look.object_id,
                            "name": look.name,
                            "confidence": round(look.confidence, 6),
                            "reason": look.reason,
                        }
                        for look in looks
                    ]
                }
            )
        else:
            print_table(review.COLUMNS, rows)
