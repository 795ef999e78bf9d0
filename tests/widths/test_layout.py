import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dyn_lightning.widths.layout import Concat, Layout, as_layout, distinct
from dyn_lightning.widths.width import Width

# A tree of a layout: an int, the index of a Width, a product ("*", parts) or a concatenation ("+", parts).
WIDTHS = (5, 4, 3)
leaves = st.one_of(st.integers(1, 3), st.sampled_from(["a", "b", "c"]))
trees = st.recursive(
    leaves, lambda inner: st.tuples(st.sampled_from("*+"), st.lists(inner, min_size=1, max_size=3)), max_leaves=6
)


def built(tree: Any, widths: dict[str, Width]) -> Any:
    if isinstance(tree, int):
        return tree
    if isinstance(tree, str):
        return widths[tree]
    kind, parts = tree
    found = [built(part, widths) for part in parts]
    return Layout(*found) if kind == "*" else Layout(Concat(*found))


def labels(tree: Any, full: dict[str, int], used: dict[str, int]) -> np.ndarray:
    """For each element of the full dimension, whether it is in use: by outer products and concatenation."""
    if isinstance(tree, int):
        return np.ones(tree, bool)
    if isinstance(tree, str):
        return np.arange(full[tree]) < used[tree]
    kind, parts = tree
    found = [labels(part, full, used) for part in parts]
    if kind == "+":
        return np.concatenate(found)
    total = np.ones(1, bool)
    for part in found:
        total = np.logical_and.outer(total, part).reshape(-1)
    return total


@settings(max_examples=80, deadline=None)
@given(trees, st.tuples(*(st.integers(1, n) for n in WIDTHS)))
def test_indices_are_those_of_an_independent_construction(tree: Any, used: tuple[int, ...]) -> None:
    full = dict(zip("abc", WIDTHS, strict=True))
    widths = {name: Width(n) for name, n in full.items()}
    layout = as_layout(built(tree, widths))
    assert layout.full_size == len(labels(tree, full, full))
    for name, size in zip("abc", used, strict=True):
        widths[name].freeze(size)
    inside = labels(tree, full, dict(zip("abc", used, strict=True)))
    assert layout.size == layout.current == inside.sum()
    assert layout.indices().tolist() == np.flatnonzero(inside).tolist()
    x = torch.randn(2, layout.full_size, 3)
    assert torch.equal(layout.take(x, 1), x[:, torch.from_numpy(inside)])
    assert (layout.in_use() is None) == inside.all()


@settings(max_examples=40, deadline=None)
@given(trees, st.tuples(*(st.integers(1, n) for n in WIDTHS)), st.integers(0, 2))
def test_noise_changes_exactly_the_boundary_elements(tree: Any, used: tuple[int, ...], dim: int) -> None:
    """Elements with the last of some Width's active ones among their factors."""
    torch.manual_seed(0)
    full = dict(zip("abc", WIDTHS, strict=True))
    widths = {name: Width(n) for name, n in full.items()}
    layout = as_layout(built(tree, widths))
    active = dict(zip("abc", used, strict=True))
    for name, size in active.items():
        widths[name].set_lam((size - 0.4) / full[name] if size > 1 else 1 / full[name])
    below = {name: size - 1 if size > 1 else 1 for name, size in active.items()}
    inside = labels(tree, full, active)
    clean = labels(tree, full, below)[inside]
    shape = [17, 16, 15]
    shape[dim] = int(inside.sum())
    x = torch.randn(shape)
    batch_dim = 0 if dim else 1
    y = layout.noise(x, dim, batch_dim=batch_dim)
    assert y.shape == x.shape
    others = [d for d in range(3) if d != dim]
    same = torch.isclose(y, x, rtol=1e-4, atol=1e-4).all(dim=others[1]).all(dim=others[0])
    assert same.tolist() == clean.tolist()
    for width in layout.widths:
        width.eval()
    small = x.narrow(dim, 0, layout.current)
    assert layout.noise(small, dim) is small


def test_noise_has_each_elements_own_deviation() -> None:
    """Blocks of very different level and spread must not lend each other their statistics."""
    torch.manual_seed(0)
    width = Width(3)
    width.set_lam(0.9)
    a, b = (v.value for v in width.amplitudes)
    spread = torch.tensor([1.0, 100.0])[:, None]
    x = (torch.randn(20_000, 2, 3) * spread + spread * 10).flatten(1)
    for layout in (Layout(2, width), Layout(Concat(width, width))):
        noise = (layout.noise(x, 1) - x).unflatten(1, (2, 3))[..., 2].detach()
        own = (a - 1) * x.unflatten(1, (2, 3))[..., 2]
        torch.testing.assert_close((noise - own).std(0), b * spread[:, 0], rtol=0.05, atol=0)


def test_gradient_reaches_every_width() -> None:
    a, b, c = Width(4), Width(3), Width(5)
    for width in (a, b, c):
        width.set_lam(0.65)
    layout = Layout(2, Concat(a, Layout(b, 2)), c)
    layout.noise(torch.randn(6, layout.current), 1).square().sum().backward()
    assert all(w.theta.grad is not None and w.theta.grad != 0 for w in (a, b, c))


def test_probes_stand_on_each_element_of_each_width() -> None:
    a, b = Width(3), Width(2)
    for width in (a, b):
        width.probes = []
    layout = Layout(Concat(a, b), 4)
    x = torch.randn(7, 20)
    y = layout.noise(x, 1)
    assert torch.equal(y, x)
    (one,), (other,) = a.probes, b.probes
    assert (one.shape, other.shape) == ((7, 3), (7, 2))
    gradients = torch.autograd.grad(y.sum(), [one, other])
    blocks = x.view(7, 5, 4).sum(2)
    torch.testing.assert_close(torch.cat(gradients, 1), blocks)


def test_a_parameter_has_no_samples() -> None:
    torch.manual_seed(0)
    width = Width(4)
    width.set_lam(0.8)
    x = torch.randn(8, 50)
    y = Layout(2, width).noise(x, 0, batch_dim=None)
    assert (y == x).all(1).tolist() == [True, True, True, False] * 2


def test_layout_of_one_width() -> None:
    width = Width(4)
    assert Layout(1, width, 1).simple is width
    assert Layout(Layout(width)).simple is width
    assert Layout(2, width).simple is None
    assert Layout(width, 2).simple is None
    assert Layout(Concat(width)).simple is None
    assert Layout(3).simple is None
    assert Layout().full_size == Layout(1).size == 1
    assert as_layout(width).simple is width
    layout = Layout(width, 2)
    assert as_layout(layout) is layout
    assert distinct([width, Width(2), width])[0] is width
    assert len(distinct(Layout(Concat(width, width)).widths)) == 1
    assert Layout(Concat(width, width)).widths == (width, width)


def test_a_prefix_is_a_view() -> None:
    width, x = Width(4), torch.randn(3, 8)
    width.freeze(2)
    for layout in (Layout(width, 2), Layout(1, width, 2)):
        part = layout.take(x, 1)
        assert part.data_ptr() == x.data_ptr()
        assert torch.equal(part, x[:, :4])
    width.unfreeze()
    assert Layout(width, 2).take(x, 1) is x


def test_layout_follows_kept_and_current() -> None:
    width, x = Width(8), torch.randn(16)
    width.set_lam(0.55)
    assert len(Layout(width, 2).take(x, 0)) == 10
    assert len(Layout(width, 2).take(x, 0, kept=True)) == 8
    both = Layout(Concat(width, width))
    assert (both.current, both.size) == (10, 8)
    assert both.indices().tolist() == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12]
    assert both.indices(kept=True).tolist() == [0, 1, 2, 3, 8, 9, 10, 11]


def test_positions_of_any_choice() -> None:
    width = Width(3)
    chosen = torch.tensor([2, 0])
    assert Layout(2, width, 2).positions(lambda _: chosen).tolist() == [4, 5, 0, 1, 10, 11, 6, 7]
    assert Layout(Concat(1, width)).positions(lambda _: chosen).tolist() == [0, 3, 1]


def test_copies_follow_their_own_widths() -> None:
    width = Width(4)
    pair = {"width": width, "layout": Layout(2, width)}
    width.freeze(3)
    assert len(pair["layout"].indices()) == 6
    twin = copy.deepcopy(pair)
    twin["width"].freeze(1)
    assert twin["layout"].indices().tolist() == [0, 4]
    assert len(pair["layout"].indices()) == 6


@pytest.mark.parametrize("kept", [False, True])
def test_a_resampled_width_alone(kept: bool) -> None:
    width = Width(4, resampled=True)
    width.freeze(2)
    x = torch.randn(3, 4)
    assert Layout(width).take(x, 1, kept=kept).shape == (3, 2)
    # what stands for all points: the columns' sum is kept
    torch.testing.assert_close(Layout(width).take(x, 1, kept=kept).sum(1), x.sum(1))
