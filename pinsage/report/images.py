"""Images of items: local files as small pictures inside the page, web addresses as plain links.

The page loads nothing, so a picture is part of it or it is a link. Files come from other people's
catalogs: only regular files of common raster formats are read, and none above a bounded size.
"""

from __future__ import annotations

import base64
import io
import logging
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pinsage.config import Config, expand
from pinsage.errors import MissingExtraError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 72  # pixels; shown at half that, so that it is sharp on a dense screen
_FORMATS = ("GIF", "JPEG", "PNG", "WEBP")
_MOST_BYTES = 32 << 20  # of a file
_MOST_PIXELS = 50_000_000  # of an image
BUDGET = 900_000  # bytes of all pictures in the page
_log = logging.getLogger(__name__)


@dataclass
class Pictures:
    """Thumbnails that are in the page, each once; `base` is where relative paths start.

    Attributes:
        styles: data URI by number
    """

    base: Path
    styles: list[str] = field(default_factory=list)
    _numbers: dict[str, int | None] = field(default_factory=dict)
    _size: int = 0

    @classmethod
    def of(cls, config: Config) -> Pictures:
        """Relative paths start at the folder of the catalog's file, else the current one."""
        items = config.data.items
        if items is None or items.path is None or items.package is not None:
            return cls(Path.cwd())
        source = Path(expand(items.path, field="data.items.path"))
        return cls(source if source.is_dir() else source.parent)

    def number(self, address: str | None) -> int | None:
        """Number of an address's picture; None where there is none to show."""
        if not address or web_address(address):
            return None
        if address not in self._numbers:
            self._numbers[address] = self._add(address)
        return self._numbers[address]

    def _add(self, address: str) -> int | None:
        thumbnail = _thumbnail(self.base / address) if "\0" not in address else None
        if thumbnail is None:
            return None
        uri = f"data:image/jpeg;base64,{base64.b64encode(thumbnail).decode()}"
        if self._size + len(uri) > BUDGET:
            _log.warning("the report holds %d bytes of images; further ones are left out", BUDGET)
            return None
        self._size += len(uri)
        self.styles.append(uri)
        return len(self.styles) - 1


def web_address(address: str | None) -> str | None:
    """The address, if it is one of the web that a link may lead to; None for all others."""
    if not address or len(address) > 2000:
        return None
    try:
        parts = urlsplit(address.strip())
    except ValueError:
        return None
    return address.strip() if parts.scheme in ("http", "https") and parts.netloc else None


def _thumbnail(path: Path) -> bytes | None:
    """A JPEG of at most 72 × 72 pixels, cut to a square; None where there is no readable image."""
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise MissingExtraError(
            "images in the report need Pillow, which is not installed; pip install pillow"
        ) from None
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > _MOST_PIXELS:
                    return None
                image.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded at a smaller size
                square = ImageOps.fit(_on_white(image), (SIDE, SIDE))
        stream = io.BytesIO()
        square.save(stream, "JPEG", quality=80, optimize=True)
        return stream.getvalue()
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError,
            Image.DecompressionBombError) as error:  # fmt: skip
        _log.info("%s: no image of the report (%s)", path, error)
        return None


def _on_white(image: Image.Image) -> Image.Image:
    """Without transparency, which JPEG does not have."""
    from PIL import Image

    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
