"""``sam2track count``: how many, and how often over a line or into a region."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sam2track.cli.paths import PATH
from sam2track.cli.progress import interrupt_on_sigterm
from sam2track.cli.reading import check_each_apart, counted, print_json, print_table, results_of
from sam2track.errors import UsageError

if TYPE_CHECKING:
    from sam2track.counting import Event
    from sam2track.table import TrackRow

__all__ = ["command"]


@click.command("count")
@click.argument("project", type=PATH)
@click.option("--line", "lines", multiple=True, metavar="[NAME=]X0,Y0,X1,Y1", help="Two points.")
@click.option(
    "--region",
    "regions",
    multiple=True,
    metavar="[NAME=]X0,Y0,X1,Y1[,X2,Y2…]",
    help="A box, or the corners of a polygon.",
)
@click.option("-o", "--output", type=PATH, help="CSV: frame and class.")
@click.option("--events", type=PATH, help="CSV: each crossing.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def command(
    project: Path,
    lines: tuple[str, ...],
    regions: tuple[str, ...],
    output: Path | None,
    events: Path | None,
    as_json: bool,
) -> None:
    """Count the objects of PROJECT by class, which is their name.

    PROJECT is a .s2t file or the folder that holds one. Lines and regions may be given several
    times; coordinates are pixels of the frame, x right, y down.
    """
    interrupt_on_sigterm()
    from sam2track import counting
    from sam2track.table import TableWriter

    walls = [counting.parse_line(text) for text in lines]
    areas = [counting.parse_region(text) for text in regions]
    places = [wall.name for wall in walls] + [area.name for area in areas]
    if events is not None and not places:
        raise UsageError("events are those of lines and regions; give some (--line, --region)")
    if len(set(places)) < len(places):
        raise UsageError(f"two lines or regions have one name: {', '.join(places)}; name each")
    with results_of(project) as results, ExitStack() as files:
        classes = sorted({str(name) for name in results.names.values()})
        check_each_apart((output, events), results.path, str(results.meta.get("source")))
        header = ("frame", "time_s", "class", "count")
        per_frame = None if output is None else files.enter_context(TableWriter(output, header))
        listed = (
            None
            if events is None
            else files.enter_context(TableWriter(events, counting.EVENT_COLUMNS))
        )

        def on_frame(frame: int, time: float, here: Counter[str]) -> None:
            if per_frame is not None:
                for name in classes:
                    per_frame.write_cells((str(frame), f"{time:.6f}", name, str(here[name])))

        def on_event(event: Event) -> None:
            if listed is not None:
                frame, time, *rest = event
                listed.write_cells((str(frame), f"{time:.6f}", *map(str, rest)))

        with counted("counting", len(results.frames)) as step:

            def frames() -> Iterator[tuple[int, float, list[TrackRow]]]:
                # Not by observations: of a mask only its place counts, which is stored.
                for frame, group in groupby(results.rows(), key=lambda row: row.frame):
                    found = list(group)
                    yield frame, found[0].time, found
                    step(frame)

            counts = counting.count(
                frames(), lines=walls, regions=areas, on_frame=on_frame, on_event=on_event
            )
    by_class = [
        {
            "class": name,
            "objects": counts.total[name],
            "most_on_a_frame": counts.most[name],
            "mean_per_frame": round(counts.mean.get(name, 0.0), 4),
        }
        for name in classes
    ]
    kinds = [(wall.name, what) for wall in walls for what in ("left to right", "right to left")]
    kinds += [(area.name, what) for area in areas for what in ("entry", "exit")]
    happened = [
        {"where": where, "event": what, "class": name, "count": counts.events[where, what, name]}
        for where, what in kinds
        for name in classes
    ]
    if as_json:
        print_json({"frames": counts.frames, "classes": by_class, "events": happened})
        return
    print_table(
        ("class", "objects", "most on a frame", "mean per frame"),
        [[f"{v:.2f}" if isinstance(v, float) else v for v in row.values()] for row in by_class],
    )
    if happened:
        click.echo()
        print_table(("where", "event", "class", "count"), [list(row.values()) for row in happened])
