"""A reference for smaller networks that knows nothing of how they were made.

A smaller network must compute what the whole one computes with everything that was removed set to zero. What was
removed is read off the parameters' values, all different: neither names of layers nor index maps are trusted. A
channel joined to the wrong column (behind a concatenation, a shuffle, a reshape) changes the output.

Norms over a learned size are taken over what is left of it. Where the smaller network rightly computes something else
(attention scores are divided by the root of a smaller head size; a mean or softmax over a learned size), the two are
not comparable.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from dyn_lightning.inputs import call_arguments, tensors_in


def all_different(network: nn.Module) -> None:
    """Give each parameter values that differ from one another, with the spread it had; norms some statistics."""
    for name, p in network.named_parameters():
        spread = p.detach().float().std(correction=0).item() if p.numel() > 1 else 0.0
        grid = (torch.randperm(p.numel()) + 0.5) / p.numel() - 0.5
        constant = spread == 0.0
        middle = p.detach().float().mean().item() if constant else 0.0
        values = middle + grid * (0.3 if constant else 3.4641 * spread)
        if name.endswith(("low", "band")):  # frequencies of a filter bank: moved a little, never negated
            values = p.detach().flatten() * (1 + 0.01 * grid)
        with torch.no_grad():
            p.copy_(values.view_as(p))
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None:
            nn.init.normal_(module.running_mean, std=0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]


def kept_entries(whole: nn.Module, small: nn.Module) -> dict[str, Tensor]:
    """For each parameter of the whole network, which entries the small one has still.

    Raises LookupError where a parameter of the small network is no part of one of the whole.
    """
    parameters = dict(whole.named_parameters())
    kept = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in parameters.items()}
    for name, p in small.named_parameters():
        candidates = ([name] if name in parameters else []) + list(parameters)
        for candidate in candidates:
            found = torch.isin(parameters[candidate].detach(), p.detach())
            if int(found.sum()) == p.unique().numel():
                kept[candidate] |= found
                break
        else:
            raise LookupError(f"{name} of the small network has values that the whole one does not have")
    return kept


class NormOfKept(nn.Module):
    """The small network's norm on the elements that it has, zeros elsewhere.

    Args:
        norm: the small network's norm.
        kept: which elements of the whole norm's weight it has.
        first: the dimension that is normalised is the first one behind the batch, not the last one.
    """

    def __init__(self, norm: nn.Module, kept: Tensor, first: bool) -> None:
        super().__init__()
        self.norm, self.kept, self.first = norm, kept, first
        self.weight = getattr(norm, "weight", None)
        self.eps = float("nan")  # unequal to itself: torch's fused Transformer layer then leaves norms to us

    def forward(self, x: Tensor) -> Tensor:
        n = self.kept.dim()
        dims = [1] if self.first else list(range(x.dim() - n, x.dim()))
        if [x.shape[d] for d in dims] != list(self.kept.shape):  # one that transposes by itself
            dims = [x.dim() - 2]
        part, out = x, torch.zeros_like(x)
        grid = [i.unique() for i in self.kept.nonzero().T]
        for dim, i in zip(dims, grid, strict=True):
            part = part.index_select(dim, i)
        where: list[Any] = [torch.arange(size) for size in x.shape]
        for dim, i in zip(dims, grid, strict=True):
            where[dim] = i
        out[torch.meshgrid(*where, indexing="ij")] = self.norm(part)
        return out


def _normalises_first(module: nn.Module) -> bool | None:
    """Whether a norm takes the first dimension behind the batch for its elements; None for what is no such norm."""
    name = type(module).__name__
    if isinstance(module, nn.GroupNorm):
        return True
    if next(module.children(), None) is not None or not ("LayerNorm" in name or name.endswith("RMSNorm")):
        return None
    for p in module.parameters():
        if p.dim() > 1 and p.shape[0] == 1:  # shaped to be broadcast
            return p.shape.index(p.numel()) == 1
    return "2d" in name


def masked(whole: nn.Module, small: nn.Module, query_scales: bool = False) -> nn.Module:
    """A copy of the whole network in which everything that the small one lacks is zero.

    Args:
        whole: the network with all its parameters.
        small: a smaller one made of it.
        query_scales: divide attention scores by the root of the head size that is left (where the network's own code
            divides by that of its tensors), not of the whole one.

    Raises LookupError where the two cannot be compared: see `kept_entries`, or where a norm without parameters
    normalises a size that was reduced.
    """
    kept = kept_entries(whole, small)
    reference = copy.deepcopy(whole)
    with torch.no_grad():
        for name, p in reference.named_parameters():
            mask = kept[name]
            lengths = kept.get(f"{name.removesuffix('1')}0") if name.endswith("original1") else None
            if lengths is not None and lengths.shape[0] == p.shape[0]:  # weight norm: no direction without length
                mask = mask | ~mask.flatten(1).any(1).view(-1, *[1] * (p.dim() - 1))
            p.mul_(mask)
            if query_scales:
                _scale_queries(reference, name, p, kept[name])
    for name, module in list(reference.named_modules()):
        first = _normalises_first(module)
        if first is None:
            continue
        parameter = next((n for n, _ in module.named_parameters()), None)
        norm = small.get_submodule(name)
        if parameter is None:
            if repr(norm) != repr(module):
                raise LookupError(f"{name} is a norm without parameters")
            continue
        mask = kept[f"{name}.{parameter}"]
        if not bool(mask.all()):
            parent, _, child = name.rpartition(".")
            mask = mask.flatten() if mask.shape[0] == 1 else mask
            setattr(reference.get_submodule(parent), child, NormOfKept(copy.deepcopy(norm), mask, first))
    return reference.eval()


QUERIES = {"q": 1, "query": 1, "q_proj": 1, "linear_q": 1, "q_lin": 1, "qkv": 3, "in_proj": 3, "c_attn": 3}
HEADS = ("num_heads", "num_attention_heads", "n_heads", "nhead", "heads")


def _scale_queries(network: nn.Module, name: str, p: Tensor, kept: Tensor) -> None:
    """Make up for a head size that has become smaller, in a layer of queries (its name says so)."""
    path = name.split(".")[:-1]
    layer = path[-1] if path else ""
    if name.endswith(("in_proj_weight", "in_proj_bias")):
        path, layer = [*path, "in_proj"], "in_proj"
    if layer not in QUERIES:
        return
    parent = network.get_submodule(".".join(path[:-1]))
    heads = next((getattr(parent, h) for h in HEADS if isinstance(getattr(parent, h, None), int)), 1)
    rows = kept.flatten(1).any(1) if kept.dim() > 1 else kept
    size = rows.shape[0] // QUERIES[layer]
    per_head = rows[:size].view(heads, -1).sum(1)
    if per_head.max() > 0:
        p[:size] *= (size / heads / per_head.max().item()) ** 0.5


def outputs(network: nn.Module, example: Any, seed: int = 0) -> list[Tensor]:
    """All tensors that a network answers in evaluation mode, without gradients, from the same random state."""
    args, kwargs = call_arguments(example)
    network.eval()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return tensors_in(network(*args, **kwargs))


def relative_difference(one: list[Tensor], other: list[Tensor]) -> float:
    """Largest difference between two lists of tensors over the largest value of the tensor in question.

    A tensor of small values beside others counts for at least a tenth of the largest of all. Raises ValueError where
    shapes differ.
    """
    if [x.shape for x in one] != [x.shape for x in other]:
        raise ValueError(f"shapes differ: {[tuple(x.shape) for x in one]} and {[tuple(x.shape) for x in other]}")
    pairs = [
        (torch.nan_to_num(a.to(torch.complex128)), torch.nan_to_num(b.to(torch.complex128)))
        for a, b in zip(one, other, strict=True)
        if a.numel()
    ]
    floor = max([0.1 * b.abs().max().item() for _, b in pairs] + [1e-3])
    return max(((a - b).abs().max().item() / max(b.abs().max().item(), floor) for a, b in pairs), default=0.0)


def difference_from_masked(whole: nn.Module, small: nn.Module, example: Any) -> float:
    """How far the small network is from the whole one with the removed parts at zero: see `relative_difference`.

    Attention may divide its scores by the root of the head size there was or of that which is left; the nearer counts.
    Raises LookupError as `masked` does.
    """
    found = outputs(small, example)
    difference = relative_difference(found, outputs(masked(whole, small), example))
    if difference > 1e-5:
        scaled = outputs(masked(whole, small, query_scales=True), example)
        difference = min(difference, relative_difference(found, scaled))
    return difference


# Smaller networks that rightly compute something else than the whole one with zeros in it.
NOT_COMPARABLE: dict[str, str] = {
    "attention_by_function": "torch's function divides scores by the root of a smaller head size",
    "perceiver_cross_attention": "a mean over learned latents, of which some are given up",
    "relative_position_attention": "scores of q and of biases are divided by the root of a smaller head size",
    "speechbrain/xvector": "adds noise in evaluation too: other random numbers at other sizes",
    "torchaudio/tacotron2": "drops out in evaluation too: other random numbers at other sizes",
}
