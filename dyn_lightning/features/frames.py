"""Which samples the frames of a network lie on: told by its front end, and followed by the data that label them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dyn_lightning.errors import SettingError


@dataclass(frozen=True)
class Frames:
    """Frames of an STFT without centre padding: frame i covers samples ``i·hop_length`` to ``i·hop_length + n_fft``.

    Attributes:
        n_fft: samples of a frame.
        hop_length: samples from one frame to the next.
    """

    n_fft: int = 1024
    hop_length: int = 256

    def count(self, n_samples: int) -> int:
        """Number of whole frames in ``n_samples``; 0 where not even one fits."""
        return max(0, 1 + (n_samples - self.n_fft) // self.hop_length)

    @staticmethod
    def of(network: Any) -> Frames | None:
        """Those that a network's attributes ``n_fft`` and ``hop_length`` tell; None where it lacks one of them."""
        n_fft, hop_length = getattr(network, "n_fft", None), getattr(network, "hop_length", None)
        if not isinstance(n_fft, int) or not isinstance(hop_length, int):
            return None
        return Frames(n_fft, hop_length)


@dataclass(frozen=True)
class OutputFrames:
    """Which frames a network answers for.

    Attributes:
        frames: of its front end.
        first: the frame that its first output belongs to: those before it only lend their context.
    """

    frames: Frames
    first: int

    @staticmethod
    def of(network: Any) -> OutputFrames | None:
        """As its attributes tell: those of :meth:`Frames.of`, ``sample_rate`` and ``first_frame_centre_s``.

        None where one of them is absent.

        Raises:
            SettingError: the first output lies between two frames, or before the first one.
        """
        frames = Frames.of(network)
        rate, centre_s = getattr(network, "sample_rate", None), getattr(network, "first_frame_centre_s", None)
        if frames is None or rate is None or centre_s is None:
            return None
        place = (float(centre_s) * float(rate) - frames.n_fft / 2) / frames.hop_length
        if place < -0.01 or abs(place - round(place)) > 0.01:
            raise SettingError(
                f"first_frame_centre_s={centre_s:g} of the network is the centre of none of its frames (n_fft="
                f"{frames.n_fft}, hop_length={frames.hop_length}, {rate} Hz): mend this attribute"
            )
        return OutputFrames(frames, round(place))
