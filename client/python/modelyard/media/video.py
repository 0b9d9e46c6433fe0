"""`Video`: moving pictures."""

from __future__ import annotations

import io
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelyard.media import content, libraries
from modelyard.media.content import Content
from modelyard.media.images.pixels import eight_bits
from modelyard.media.media import FileMedia

FORMATS = ("gif", "mp4", "webm", "ogg")
FRAMES_A_SECOND = 4
_CODECS = {"mp4": "libx264", "webm": "libvpx-vp9", "ogg": "libtheora"}


class Video(FileMedia):
    """Moving pictures: a file, by its path or opened, which is kept as it is; or frames.

    Frames are an array or tensor of time × channels × height × width, with 1 or 3 channels; with a
    batch in front they are shown side by side. They become a GIF, written with Pillow, or
    with `format` mp4, webm or ogg a film, written with imageio-ffmpeg. `fps` is frames a second,
    by default 4. Errors: ValueError, OSError, Error where a library is missing.
    """

    type_name = "video-file"
    folder = "videos"
    list_type = "videos"
    list_key = "videos"

    def __init__(
        self,
        data_or_path: Any,
        caption: str | None = None,
        fps: int | None = None,
        format: str | None = None,
    ) -> None:
        self.width: int | None = None
        self.height: int | None = None
        if format is not None and format not in FORMATS:
            raise ValueError(f"Video: format is one of {', '.join(FORMATS)}, not {format!r}")
        super().__init__(self._content(data_or_path, fps, format), caption)

    def _content(self, data: Any, fps: int | None, format: str | None) -> Content:
        if isinstance(data, str | os.PathLike):
            found = content.local_file("Video", data)
            if found.suffix[1:] not in FORMATS:
                raise ValueError(f"Video: files are of the types {', '.join(FORMATS)}, not {found.suffix!r}")
            return found
        if callable(getattr(data, "read", None)):
            if format is None:
                raise ValueError("Video: an open file needs format")
            raw = data.getvalue() if isinstance(data, io.BytesIO) else data.read()
            return Content(f".{format}", raw if isinstance(raw, bytes) else raw.encode())
        frames = _frames(data)
        self.height, self.width = frames.shape[1:3]
        rate = FRAMES_A_SECOND if fps is None else fps
        if rate <= 0:
            raise ValueError(f"Video: fps is more than 0, not {fps}")
        if format in {None, "gif"}:
            return Content(".gif", _gif(frames, rate))
        return Content(f".{format}", _film(frames, rate, str(format)))

    def details(self) -> dict[str, Any]:
        """Its size in pixels, where it is known."""
        return {} if self.width is None else {"width": self.width, "height": self.height}

    def restore(self, stored: Mapping[str, Any]) -> None:
        """Takes its size."""
        self.width, self.height = stored.get("width"), stored.get("height")


def _frames(data: Any) -> Any:
    """Frames as time × height × width × 3, of 8 bits."""
    numpy = libraries.load("numpy", "modelyard.Video of frames")
    array = numpy.asarray(libraries.on_host(data))
    if (
        array.ndim not in {4, 5}
        or array.shape[-3] not in {1, 3}
        or not array.size
        or array.dtype.kind not in "biuf"
    ):
        raise ValueError(
            f"Video: time × channels × height × width, with 1 or 3 channels, not the shape {array.shape}"
        )
    array = eight_bits(array, normalize=True)
    if array.ndim == 5:
        array = _side_by_side(array, numpy)
    frames = numpy.moveaxis(array, 1, -1)
    return numpy.ascontiguousarray(numpy.repeat(frames, 3, -1) if frames.shape[-1] == 1 else frames)


def _side_by_side(batch: Any, numpy: Any) -> Any:
    """Films of a batch in a grid, filled up with black ones."""
    columns = math.ceil(math.sqrt(len(batch)))
    rows = math.ceil(len(batch) / columns)
    count, times, channels, height, width = batch.shape
    padded = numpy.zeros((rows * columns, times, channels, height, width), numpy.uint8)
    padded[:count] = batch
    grid = padded.reshape(rows, columns, times, channels, height, width)
    return grid.transpose(2, 3, 0, 4, 1, 5).reshape(times, channels, rows * height, columns * width)


def _gif(frames: Any, fps: float) -> bytes:
    pillow = libraries.load("PIL.Image", "modelyard.Video")
    pictures = [pillow.fromarray(frame) for frame in frames]
    buffer = io.BytesIO()
    pictures[0].save(
        buffer, "gif", save_all=True, append_images=pictures[1:], duration=round(1000 / fps), loop=0
    )
    return buffer.getvalue()


def _film(frames: Any, fps: float, format: str) -> bytes:
    ffmpeg = libraries.load("imageio_ffmpeg", f"modelyard.Video as {format}")
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"film.{format}")
        # Most codecs need even sides; the last row or column is repeated.
        writer = ffmpeg.write_frames(
            str(path), (width + width % 2, height + height % 2), fps=fps, codec=_CODECS[format],
            macro_block_size=2, ffmpeg_log_level="error",
        )  # fmt: skip
        writer.send(None)
        for frame in _even(frames):
            writer.send(frame)
        writer.close()
        return path.read_bytes()


def _even(frames: Any) -> Any:
    numpy = libraries.load("numpy", "modelyard.Video")
    height, width = frames.shape[1:3]
    sides = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    return numpy.ascontiguousarray(numpy.pad(frames, sides, mode="edge"))
