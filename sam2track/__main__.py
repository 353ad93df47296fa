"""``python -m sam2track`` is the same as ``sam2track``."""

from sam2track.cli.main import main

main(prog_name="sam2track")
