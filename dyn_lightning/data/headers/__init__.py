"""Lengths that the headers of audio files state: mended where they are wrong, and told where a file is cut.

What cannot seek writes a placeholder where the length belongs (pipes, streams, a recorder that was killed). The audio
is whole all the same; decoders stop short of it, or refuse it. A file of which a part is missing looks alike, but for
the value that stands there.
"""

from dyn_lightning.data.headers.pieces import Mended, Pieces, mended

__all__ = ["Mended", "Pieces", "mended"]
