"""The figures of a report: the same drawing as an image for MLflow and as SVG in the page."""
