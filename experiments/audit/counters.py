"""Public counters of FLOPs and MACs behind one interface: each gives what it counts in every module.

None of them is needed to use the package; the extra ``audit`` installs them. Each is run on a copy, because most of
them leave attributes, buffers or hooks behind.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module, metadata
from typing import Any, Literal

import torch
from torch import nn

from dyn_lightning.inputs import call_arguments

Unit = Literal["FLOPs", "MACs"]
ByModule = dict[str, float]


@dataclass(frozen=True)
class Count:
    """What one counter says of a network.

    Attributes:
        tool: its distribution's name.
        unit: of its numbers, as it defines them; a MAC is a multiply-add, two FLOPs.
        version: None where it is not installed.
        error: why there are no counts; None where there are.
        by_module: qualified module name → count of one call, of the modules inside it included; "" is the network.
    """

    tool: str
    unit: Unit
    version: str | None = None
    error: str | None = None
    by_module: ByModule = field(default_factory=dict)


@dataclass(frozen=True)
class Counter:
    """How a counter is called.

    Attributes:
        distribution: the name that it is installed by.
        module: the name that it is imported by.
        unit: of its numbers.
        count: (imported module, network, positional and keyword arguments) → counts of each module.
    """

    distribution: str
    module: str
    unit: Unit
    count: Callable[[Any, nn.Module, tuple[Any, ...], dict[str, Any]], ByModule]


def run_counter(counter: Counter, network: nn.Module, example_input: Any) -> Count:
    """Run one counter on a copy of a network; one that is not installed, or fails, says so in its ``error``."""
    name, unit = counter.distribution, counter.unit
    try:
        version = metadata.version(name)
        library = import_module(counter.module)
    except metadata.PackageNotFoundError:
        return Count(name, unit, error="not installed")
    except ImportError as error:
        return Count(name, unit, error=f"cannot be imported ({error})")
    args, kwargs = call_arguments(copy.deepcopy(example_input))
    network = copy.deepcopy(network).eval()
    try:
        with torch.no_grad(), _quiet():
            counted = counter.count(library, network, args, kwargs)
    except Exception as error:  # whatever another package raises is its result
        return Count(name, unit, version, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
    return Count(name, unit, version, by_module=counted)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what a counter prints, warns and logs."""
    disabled = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(disabled)


def _inclusive(network: nn.Module, own: Mapping[str, float]) -> ByModule:
    """Counts that leave out the modules inside, with these added."""
    total = dict.fromkeys((name for name, _ in network.named_modules()), 0.0)
    for name, value in own.items():
        while True:
            total[name] += value
            if not name:
                break
            name = name.rpartition(".")[0]
    return total


def _torch(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    with library.FlopCounterMode(display=False) as mode:
        network(*args, **kwargs)
    root = type(network).__name__
    names = {f"{root}.{name}": name for name, _ in network.named_modules()} | {"Global": ""}
    return {names[k]: float(sum(ops.values())) for k, ops in mode.get_flop_counts().items() if k in names}


def _fvcore(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    if kwargs:
        raise TypeError("fvcore takes positional inputs alone")
    analysis = library.FlopCountAnalysis(network, args)
    return {name: float(value) for name, value in analysis.by_module().items()}


def _ptflops(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    own: ByModule = {}

    def read(module: nn.Module, _args: Any, _out: Any) -> None:
        own.update({name: float(getattr(m, "__flops__", 0)) for name, m in network.named_modules()})

    # The counter's attributes are gone when it returns, so they are read at the end of the network's own call.
    network.register_forward_hook(read)
    if len(args) == 1 and not kwargs:
        inputs: Any = args[0]
        batch = len(inputs)
    else:
        inputs, batch = dict(zip(inspect.signature(network.forward).parameters, args, strict=False)) | kwargs, 1
    total, _ = library.get_model_complexity_info(
        network, (1,), print_per_layer_stat=False, as_strings=False, input_constructor=lambda _: inputs
    )
    if total is None:
        raise RuntimeError("it could not run the network")
    # Its total is that of one item, and holds functions that it attributes to no module.
    return _inclusive(network, own) | {"": float(total) * batch}


def _thop(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    if kwargs:
        raise TypeError("thop takes positional inputs alone")
    total, _, layers = library.profile(network, inputs=args, verbose=False, ret_layer_info=True)
    found: ByModule = {"": float(total)}

    def walk(prefix: str, children: Mapping[str, tuple[float, float, Any]]) -> None:
        for name, (ops, _, inner) in children.items():
            found[f"{prefix}{name}"] = float(ops)
            walk(f"{prefix}{name}.", inner)

    walk("", layers)
    return found


def _torchinfo(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    summary = library.summary(network, input_data=args or kwargs, verbose=0, mode="eval")
    names = {id(module): name for name, module in network.named_modules()}
    own: ByModule = {}
    for layer in summary.summary_list:
        if layer.is_leaf_layer:
            name = names[layer.layer_id]
            own[name] = own.get(name, 0.0) + float(layer.macs)
    return _inclusive(network, own) | {"": float(summary.total_mult_adds)}


def _calflops(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    pipeline = library.CalFlopsPipline(network, False, 2.0)
    pipeline.start_flops_calculate()  # replaces functions of torch until its end
    try:
        network(*args, **kwargs)
        own = {name: float(getattr(m, "__flops__", 0)) for name, m in network.named_modules()}
    finally:
        pipeline.end_flops_calculate()
    return _inclusive(network, own)


def _moduleprofiler(library: Any, network: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ByModule:
    profiler = library.ModuleProfiler()
    found = profiler.estimate_ops(network, None, pred_fn=lambda _: network(*args, **kwargs))
    own = {"" if name == "__root__" else name: float(row["ops"] or 0) for name, row in found.items()}
    return _inclusive(network, own)


COUNTERS = (
    Counter("torch", "torch.utils.flop_counter", "FLOPs", _torch),
    Counter("fvcore", "fvcore.nn", "MACs", _fvcore),
    Counter("ptflops", "ptflops", "MACs", _ptflops),
    Counter("thop", "thop", "MACs", _thop),
    Counter("torchinfo", "torchinfo", "MACs", _torchinfo),
    Counter("calflops", "calflops.calculate_pipline", "FLOPs", _calflops),
    Counter("moduleprofiler", "moduleprofiler", "FLOPs", _moduleprofiler),
)
"""The counters, with the unit that each defines (torchinfo's "mult-adds" and fvcore's "flops" are MACs)."""
