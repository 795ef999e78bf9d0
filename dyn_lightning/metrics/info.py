"""What a metric is: declared by the task that measures it, so that nobody has to guess it from a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class MetricInfo:
    """What is to be known of a metric to show it and to compare by it.

    Attributes:
        label: what it is called, e.g. "EER".
        unit: "%" of a rate in [0, 1], which is shown in percent; else as it stands behind the number.
        lower_is_better: whether it counts errors; None of what is neither good nor bad, such as a threshold.
        group: of a part of the evaluation set, what it is divided by, e.g. "attack"; empty of the whole set.
        member: of such a part, which it is, e.g. "A07".
    """

    label: str
    unit: str = ""
    lower_is_better: bool | None = None
    group: str = ""
    member: str = ""

    @property
    def scale(self) -> float:
        """By which the value is multiplied to be shown."""
        return 100.0 if self.unit == "%" else 1.0

    @property
    def title(self) -> str:
        """Label and unit, e.g. "EER (%)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def as_dict(self) -> dict[str, object]:
        """JSON values, without those that are not said."""
        return {key: value for key, value in asdict(self).items() if value not in ("", None)}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> MetricInfo:
        """What :meth:`as_dict` gave; keys of later versions are left out.

        Raises:
            ValueError: names the key that is absent or of another type.
        """
        known = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        for key, value in {"label": None, **known}.items():
            kinds = (bool, type(None)) if key == "lower_is_better" else (str,)
            if not isinstance(value, kinds):
                raise ValueError(f"{key} is {value!r}")
        return cls(**known)


EER_INFO = MetricInfo("EER", "%", lower_is_better=True)
LOSS_INFO = MetricInfo("loss", lower_is_better=True)
THRESHOLD_INFO = MetricInfo("threshold")
