"""Pages that report a run's result: one HTML file with inline SVG charts, without external files."""
