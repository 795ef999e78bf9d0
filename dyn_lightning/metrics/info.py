"""What a metric is: declared by the task that measures it, so that nobody has to guess it from a name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

_KINDS: dict[str, tuple[type, ...]] = {"lower_is_better": (bool, type(None)), "main": (bool,)}


@dataclass(frozen=True)
class MetricInfo:
    """What is to be known of a metric to show it and to compare by it.

    Attributes:
        label: what it is called, e.g. "EER".
        unit: "%" of a rate in [0, 1], which is shown in percent; else as it stands behind the number.
        lower_is_better: whether it counts errors; None of what is neither good nor bad, such as a threshold.
        group: of a part of the evaluation set, what it is divided by, e.g. "attack"; empty of the whole set.
        member: of such a part, which it is, e.g. "A07".
        main: whether networks of its task are compared by it first, where it is of the whole evaluation set.
    """

    label: str
    unit: str = ""
    lower_is_better: bool | None = None
    group: str = ""
    member: str = ""
    main: bool = False

    @property
    def is_main(self) -> bool:
        """Whether networks are compared by it first: of the whole evaluation set."""
        return self.main and not self.group

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
        found = {key: value for key, value in asdict(self).items() if value not in ("", None)}
        return found if self.main else {key: value for key, value in found.items() if key != "main"}

    def shown(self, value: float) -> str:
        """A value for people: a rate in percent, else four digits.

        >>> MetricInfo("EER", "%").shown(0.0651234), MetricInfo("loss").shown(0.123456)
        ('6.51 %', '0.1235')
        """
        return f"{100 * value:.2f} %" if self.unit == "%" else f"{value:.4g} {self.unit}".rstrip()

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> MetricInfo:
        """What :meth:`as_dict` gave; keys of later versions are left out.

        Raises:
            ValueError: names the key that is absent or of another type.
        """
        known = {field.name: given[field.name] for field in fields(cls) if field.name in given}
        for key, value in {"label": None, **known}.items():
            kinds = _KINDS.get(key, (str,))
            if not isinstance(value, kinds):
                raise ValueError(f"{key} is {value!r}")
        return cls(**known)


EER_INFO = MetricInfo("EER", "%", lower_is_better=True, main=True)
LOSS_INFO = MetricInfo("loss", lower_is_better=True)
THRESHOLD_INFO = MetricInfo("threshold")
