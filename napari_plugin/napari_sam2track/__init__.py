"""The napari plugin of sam2track."""
