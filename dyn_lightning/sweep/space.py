"""What a sweep file says of a parameter: the values of a grid, or a draw from a distribution.

Names, defaults and meanings are those of W&B's sweep configuration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dyn_lightning.errors import UserError


class SweepError(UserError):
    """What is wrong with a sweep, and how to mend it."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a sweep.

    Attributes:
        name: the option that it sets, dotted.
        distribution: W&B's name of it.
        options: of the distribution, with W&B's defaults filled in.
    """

    name: str
    distribution: str
    options: Mapping[str, Any]


Options = Mapping[str, Any]

# distribution → options that it needs; those that it may have, with their defaults
_KNOWN: dict[str, tuple[tuple[str, ...], dict[str, object]]] = {
    "constant": (("value",), {}),
    "categorical": (("values",), {}),
    "categorical_w_probabilities": (("values", "probabilities"), {}),
    "int_uniform": (("min", "max"), {}),
    "uniform": (("min", "max"), {}),
    "log_uniform_values": (("min", "max"), {}),
    "inv_log_uniform_values": (("min", "max"), {}),
    "normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "log_normal": ((), {"mu": 0.0, "sigma": 1.0}),
    "beta": ((), {"a": 1.0, "b": 1.0}),
}
_QUANTISED = ("uniform", "log_uniform_values", "normal", "log_normal", "beta")
_KNOWN |= {f"q_{name}": (_KNOWN[name][0], {**_KNOWN[name][1], "q": 1.0}) for name in _QUANTISED}
_DEPRECATED = ("log_uniform", "inv_log_uniform", "q_log_uniform")


def read_parameter(name: str, given: Any) -> Parameter:
    """A parameter of a sweep file.

    Args:
        name: of the parameter.
        given: what the file says of it.

    Raises:
        SweepError: if W&B would not take it, or if it holds parameters of its own.
    """
    if not isinstance(given, Mapping):
        raise SweepError(f"parameter {name}: must be a mapping, such as {{values: [1, 2]}}, got {given!r}")
    if "parameters" in given:
        raise SweepError(
            f"parameter {name}: nested parameters become one option that holds a dict. Write each under its dotted "
            f"name, such as {name}.{next(iter(given['parameters'] or ['x']))}"
        )
    options = {key: value for key, value in given.items() if key != "distribution"}
    distribution = given.get("distribution", None) or _implied(name, options)
    if distribution in _DEPRECATED:
        raise SweepError(
            f"parameter {name}: W&B has given up {distribution}, whose min and max are exponents of e. Use "
            f"{distribution}_values with the least and the largest value"
        )
    if distribution not in _KNOWN:
        raise SweepError(f"parameter {name}: unknown distribution {distribution!r}; there are {', '.join(_KNOWN)}")
    needed, defaults = _KNOWN[distribution]
    if missing := [key for key in needed if key not in options]:
        raise SweepError(f"parameter {name}: {distribution} needs {', '.join(missing)}")
    if strange := [str(key) for key in options if key not in (*needed, *defaults)]:
        raise SweepError(f"parameter {name}: {distribution} has no use for {', '.join(strange)}")
    parameter = Parameter(name, distribution, {**defaults, **options})
    _check(parameter)
    return parameter


def grid_values(parameter: Parameter) -> list[Any]:
    """All values of a parameter in a grid; ``q_uniform`` leaves its max out, as W&B does.

    Raises:
        SweepError: for a distribution with more values than can be counted, or with probabilities.
    """
    options = parameter.options
    if parameter.distribution == "constant":
        return [options["value"]]
    if parameter.distribution == "categorical":
        return list(options["values"])
    if parameter.distribution == "int_uniform":
        return list(range(options["min"], options["max"] + 1))
    if parameter.distribution == "q_uniform":
        values: list[Any] = np.arange(options["min"], options["max"], options["q"]).tolist()
        return values
    raise SweepError(
        f"parameter {parameter.name}: a grid has no place for {parameter.distribution}. List its values, or use "
        "method: random"
    )


def draw(parameter: Parameter, rng: np.random.Generator) -> Any:
    """One value of a parameter's distribution: as plain Python."""
    options, distribution = parameter.options, parameter.distribution
    if distribution == "constant":
        return options["value"]
    if distribution == "categorical":
        return options["values"][int(rng.integers(len(options["values"])))]
    if distribution == "categorical_w_probabilities":
        probabilities = np.asarray(options["probabilities"], dtype=float)
        return options["values"][int(rng.choice(len(probabilities), p=probabilities / probabilities.sum()))]
    if distribution == "int_uniform":
        return int(rng.integers(options["min"], options["max"], endpoint=True))
    value = float(_CONTINUOUS[distribution.removeprefix("q_")](options, rng))
    if not distribution.startswith("q_"):
        return value
    q = options["q"]
    return round(value / q) * q


def _log_uniform(options: Options, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(options["min"]), math.log(options["max"])))


_CONTINUOUS: dict[str, Callable[[Options, np.random.Generator], float]] = {
    "uniform": lambda options, rng: rng.uniform(options["min"], options["max"]),
    "log_uniform_values": _log_uniform,
    # log(1/x) uniform between the logarithms of the bounds' inverses: the same distribution
    "inv_log_uniform_values": _log_uniform,
    "normal": lambda options, rng: rng.normal(options["mu"], options["sigma"]),
    "log_normal": lambda options, rng: rng.lognormal(options["mu"], options["sigma"]),
    "beta": lambda options, rng: rng.beta(options["a"], options["b"]),
}


def _implied(name: str, options: Options) -> str:
    """The distribution that W&B takes where the file names none."""
    if "value" in options:
        return "constant"
    if "values" in options:
        return "categorical_w_probabilities" if "probabilities" in options else "categorical"
    bounds = [options.get("min"), options.get("max")]
    if all(isinstance(bound, int) for bound in bounds):
        return "int_uniform"
    if all(isinstance(bound, float) for bound in bounds):
        return "uniform"
    raise SweepError(
        f"parameter {name}: give value, values, a distribution, or min and max, both whole or both with a decimal "
        f"point; got {dict(options)!r} (YAML reads 1e-3 as text: write 1.0e-3)"
    )


def _check(parameter: Parameter) -> None:
    """Raises SweepError for options that W&B's schema refuses."""
    options = parameter.options
    problem = _problem_of_numbers(options) or _problem_of_bounds(parameter) or _problem_of_values(options)
    if problem is not None:
        raise SweepError(f"parameter {parameter.name}: {problem}")


def _problem_of_numbers(options: Options) -> str | None:
    """What is wrong with the options that are numbers, each by itself."""
    for key in ("min", "max", "mu", "sigma", "a", "b", "q"):
        if key in options and (isinstance(options[key], bool) or not isinstance(options[key], (int, float))):
            return f"{key}={options[key]!r} must be a number (YAML reads 1e-3 as text: write 1.0e-3)"
        if key in options and not math.isfinite(options[key]):
            return f"{key}={options[key]} must be finite"
    for key in ("sigma", "a", "b"):
        if options.get(key, 0) < 0:
            return f"{key}={options[key]} must not be negative"
    if options.get("q", 1) <= 0:
        return f"q={options['q']} must be above 0"
    return None


def _problem_of_bounds(parameter: Parameter) -> str | None:
    options = parameter.options
    if "min" in options and options["min"] >= options["max"]:
        return f"min={options['min']} must be less than max={options['max']}"
    if "log_uniform" in parameter.distribution and options["min"] <= 0:
        return f"min={options['min']} must be above 0"
    if parameter.distribution == "int_uniform" and not all(isinstance(options[k], int) for k in ("min", "max")):
        return "min and max of int_uniform must be whole"
    return None


def _problem_of_values(options: Options) -> str | None:
    """What is wrong with a list of values and their probabilities."""
    if "values" in options and (not isinstance(options["values"], list) or not options["values"]):
        return "values must be a list with a value at least"
    probabilities = options.get("probabilities")
    if probabilities is None:
        return None
    if len(probabilities) != len(options["values"]):
        return f"{len(options['values'])} values have {len(probabilities)} probabilities"
    if min(probabilities) < 0 or not math.isclose(sum(probabilities), 1.0, rel_tol=1e-5):
        return f"probabilities must not be negative and sum to 1, got {probabilities}"
    return None
