"""Texts that reach over the edge of their figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.text import Text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def cut_off(figure: Figure) -> list[str]:
    """What a reader of the image could not read whole; numbers along an axis are left out."""
    figure.draw_without_rendering()
    edge = figure.bbox.padded(1)
    along = {
        label
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in (*axis.get_majorticklabels(), *axis.get_minorticklabels())
    }  # matplotlib keeps some beyond the end of the axis, and does not draw them
    texts = (text for text in figure.findobj(Text) if text.get_visible() and text not in along)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text()]
    return [
        text
        for text, box in boxes
        if box.x0 < edge.x0 or box.x1 > edge.x1 or box.y0 < edge.y0 or box.y1 > edge.y1
    ]
