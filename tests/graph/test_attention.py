"""Attention taken as a whole: what its parameters and its results are made of."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dyn_lightning.graph import Graph, axis_size, axis_sizes, normal, read_graph
from dyn_lightning.modules.attention import SlimMultiheadAttention


def free(graph: Graph) -> dict[str, int]:
    return {size.names[0]: size.full_size for size in graph.roots() if size.reason is None}


class Attend(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(9, 8), nn.Linear(9, options.get("kdim") or 8)
        self.mha = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        k = self.b(x)
        return self.mha(self.a(x), k, k, need_weights=False)[0]


def test_attention() -> None:
    own = {"mha.heads": 2, "mha.head_size": 4, "mha.value_size": 4, "mha.out_proj": 8}
    graph = read_graph(Attend(), torch.randn(2, 3, 9), free_outputs=True)
    assert free(graph) == {"b": 8, **own}  # one matrix for queries, keys and values
    graph = read_graph(Attend(kdim=6, vdim=6), torch.randn(2, 3, 9), free_outputs=True)
    assert free(graph) == {"a": 8, "b": 6, **own}
    heads, head_size, value_size = ((normal(axis)) for axis in graph.ops[-1].hidden)
    assert [axis_size(a) for a in (heads, head_size, value_size)] == [2, 4, 4]


def test_attention_weights_have_the_heads() -> None:
    class Weights(nn.Module):
        def __init__(self, average: bool) -> None:
            super().__init__()
            self.average, self.mha = average, nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.mha(x, x, x, average_attn_weights=self.average)[1]

    for average in (True, False):
        graph = read_graph(Weights(average), torch.randn(3, 5, 8), free_outputs=True)
        weights = graph.ops[0].outputs[1]
        assert [axis_size(a) for a in weights] == ([3, 5, 5] if average else [3, 2, 5, 5])
        assert ("mha.heads" in [s.names[0] for a in weights for s in axis_sizes(a)]) == (not average)


def test_slim_attention_has_sizes_of_its_own() -> None:
    class Slim(nn.Module):
        def __init__(self, **options: Any) -> None:
            super().__init__()
            self.a, self.b, self.mha = nn.Linear(9, 8), nn.Linear(9, 8), SlimMultiheadAttention(**options)

        def forward(self, x: Tensor) -> Tensor:
            k = self.b(x)
            return self.mha(self.a(x), k, k, need_weights=False)[0]

    own = {"mha.heads": 3, "mha.head_size": 2, "mha.value_size": 5, "mha.out_proj": 7}
    sizes = {"in_sizes": (8, 8, 8), "heads": 3, "head_size": 2, "value_size": 5, "out_size": 7}
    graph = read_graph(Slim(**sizes), torch.randn(2, 3, 9), free_outputs=True)
    assert free(graph) == {"b": 8, **own}  # one matrix for queries, keys and values
    graph = read_graph(Slim(**sizes, fused=False, bias_kv=True), torch.randn(2, 3, 9), free_outputs=True)
    assert free(graph) == {"a": 8, "b": 8, **own}
    assert [axis_size(a) for a in graph.ops[-1].hidden] == [3, 2, 5]


def test_slim_attention_calls_what_it_answers_its_size() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.mha = nn.Linear(9, 8), SlimMultiheadAttention((8, 8, 8), 2, 3, 3, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.mha(x, x, x)[0].reshape(-1, self.mha.embed_dim)

    graph = read_graph(Reads(), torch.randn(2, 3, 9), free_outputs=True)
    (axis,) = graph.attributes.values()
    assert [size.names[0] for size in axis_sizes(axis)] == ["mha.out_proj"]
    assert free(graph)["a"] == 8


class ByFunction(nn.Module):
    """Queries, keys and values of 12 features, from layers of 9, 12 and 12."""

    def __init__(self, heads: int = 3, **options: Any) -> None:
        super().__init__()
        self.a, self.size, self.heads, self.options = nn.Linear(9, 12), 12, heads, options
        self.rows, self.bias = nn.Parameter(torch.randn(36, 12)), nn.Parameter(torch.randn(36))
        self.out_proj = nn.Linear(12, 7)

    def numbers(self) -> tuple[int, int]:
        return self.size, self.heads

    def forward(self, x: Tensor) -> Any:
        x = self.a(x)
        options = {"need_weights": False, **self.options}
        found = F.multi_head_attention_forward(
            x, x, x, *self.numbers(), self.rows, self.bias, None, None, False, 0.0, self.out_proj.weight,
            self.out_proj.bias, **options,
        )  # fmt: skip
        return found if options["need_weights"] else found[0]


def test_the_function_makes_its_heads_of_what_it_reads() -> None:
    graph = read_graph(ByFunction(), torch.randn(5, 2, 9), free_outputs=True)
    assert free(graph) == {"a.blocks": 3, "a.each": 4, "out_proj": 7}
    heads, each = graph.ops[-1].hidden
    assert (axis_size(heads), axis_size(each)) == (3, 4)
    followed = {str(a): [s.names[0] for s in axis_sizes(axis)] for a, axis in graph.attributes.items()}
    assert followed == {"size": ["a.blocks", "a.each"], "heads": ["a.blocks"]}
    rows = graph.bare["", "rows"]
    assert [[s.names[0] for s in axis_sizes(axis)] for axis in rows] == [["a.blocks", "a.each"]] * 2
    assert [axis_size(axis) for axis in rows] == [36, 12]


def test_numbers_in_the_code_hold_what_they_say() -> None:
    class Heads(ByFunction):
        def numbers(self) -> tuple[int, int]:
            return self.size, 3

    class Size(ByFunction):
        def numbers(self) -> tuple[int, int]:
            return 12, self.heads

    assert free(read_graph(Heads(), torch.randn(5, 2, 9), free_outputs=True)) == {"a": 4, "out_proj": 7}
    graph = read_graph(Size(), torch.randn(5, 2, 9), free_outputs=True)
    assert free(graph) == {"out_proj": 7}
    assert any("gives it as a number (12)" in str(size.reason) for size in graph.roots())


def test_a_mask_for_each_head_holds_the_heads_and_weights_have_them() -> None:
    masked = ByFunction(attn_mask=torch.zeros(6, 5, 5))
    assert free(read_graph(masked, torch.randn(5, 2, 9), free_outputs=True)) == {"a.each": 4, "out_proj": 7}
    for average in (True, False):
        net = ByFunction(need_weights=True, average_attn_weights=average)
        graph = read_graph(net, torch.randn(5, 2, 9), free_outputs=True)
        weights = graph.ops[-1].outputs[1]
        assert [axis_size(a) for a in weights] == ([2, 5, 5] if average else [2, 3, 5, 5])
        assert ("a.blocks" in [s.names[0] for a in weights for s in axis_sizes(a)]) == (not average)


def test_given_keys_are_not_followed() -> None:
    net = ByFunction(static_k=torch.randn(6, 5, 4), static_v=torch.randn(6, 5, 4))
    graph = read_graph(net, torch.randn(5, 2, 9))
    assert free(graph) == {}
    assert any("multi_head_attention_forward" in str(size.reason) for size in graph.roots())


def test_a_subclass_of_torchs_attention_is_followed_by_its_function() -> None:
    class Own(nn.MultiheadAttention):
        pass

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.mha = nn.Linear(9, 12), nn.Linear(9, 8), Own(12, 2, kdim=8, vdim=8, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.mha(self.a(x), self.b(x), self.b(x))[0]

    graph = read_graph(Net(), torch.randn(2, 5, 9), free_outputs=True)
    assert free(graph) == {"a.blocks": 2, "a.each": 6, "b": 8, "mha.out_proj": 12}
    assert graph.fixed == {}
