import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dyn_lightning.dynamize import dynamize
from dyn_lightning.models.conformer import Conformer
from dyn_lightning.models.crnn_vad import CRNNVAD
from dyn_lightning.models.resnet import ResNet34
from dyn_lightning.network.compiled import CompiledNetwork


class Joined(nn.Module):
    """Two layers joined, so that what follows takes its channels from both; the norm sees a choice of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(16)
        self.scale = nn.Parameter(torch.ones(16))
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(torch.cat([self.a(x), self.b(x)], 1)) * self.scale)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.attention(x, x, x, need_weights=False)[0])


def networks() -> dict[str, tuple[nn.Module, Tensor]]:
    return {
        "joined": (Joined(), torch.randn(5, 6)),
        "attention": (Attending(), torch.randn(3, 7, 8)),
        "weight norm": (
            nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(5, 8)), nn.ReLU(), nn.Linear(8, 2)),
            torch.randn(4, 5),
        ),
        "ResNet": (ResNet34((8, 12), (1, 1), embedding_size=8), torch.randn(2, 1, 16, 20)),
        "CRNNVAD": (CRNNVAD(n_mels=20, channels=8, hidden_size=12), torch.randn(2, 6000)),
        "Conformer": (Conformer(d_model=16, num_layers=1, d_hidden=24), torch.randn(2, 8000)),
    }


def at_sizes(dynamic: Any, lam: float) -> Any:
    for i, width in enumerate(dynamic.widths.values()):
        width.set_lam(max(1 / width.units, lam - 0.1 * (i % 3)))
        width.set_learning(False)
    return dynamic


@pytest.mark.parametrize("lam", [1.0, 0.7])
@pytest.mark.parametrize("name", ["joined", "attention", "weight norm", "ResNet", "CRNNVAD", "Conformer"])
def test_outputs_gradients_and_statistics_are_the_uncompiled_networks(name: str, lam: float) -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    plain, x = networks()[name]
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    eager = at_sizes(dynamize(plain, x[:1] if name != "joined" else x, duration_s=1.0), lam).train()
    compiled = copy.deepcopy(eager)
    run = CompiledNetwork(compiled, backend="eager")
    for call in (run, eager):
        y = call(x)
        y.square().sum().backward()
    for (key, a), b in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if "theta" not in key:
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=1e-5, msg=lambda m, key=key: f"{key}: {m}")
    for (key, a), b in zip(eager.named_buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(b, a, msg=lambda m, key=key: f"{key}: {m}")
    torch.testing.assert_close(run(x).detach(), eager(x).detach(), rtol=1e-4, atol=1e-5)
    eager.eval(), compiled.eval()
    torch.testing.assert_close(run(x).detach(), eager(x).detach(), rtol=1e-4, atol=1e-5)


def test_the_compiler_sees_one_graph_and_is_not_asked_again_while_parameters_learn() -> None:
    torch.compiler.reset()
    graphs = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    dynamic = at_sizes(dynamize(ResNet34((8, 12), (1, 1), embedding_size=8), torch.randn(1, 1, 16, 20)), 0.7).train()
    run, x = CompiledNetwork(dynamic, backend=backend), torch.randn(2, 1, 16, 20)
    optimizer = torch.optim.SGD(dynamic.parameters(), lr=0.1)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = run(x).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert len(graphs) == 1
    assert losses[-1] < losses[0]
    for width in dynamic.widths.values():
        width.freeze(1)
    assert run(x).shape == (2, 2)
    assert len(graphs) == 2


def test_each_length_is_compiled_by_itself_and_networks_do_not_mix() -> None:
    """Many networks of one class, at many sizes, in one process: none runs into the compiler's limit of the others."""
    torch.manual_seed(0)
    torch.compiler.reset()
    graphs = []

    def backend(graph: Any, _inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    for channels in range(2, 14):
        plain = nn.Sequential(nn.Conv1d(1, channels, 3), nn.ReLU(), nn.Conv1d(channels, 1, 3))
        dynamic = at_sizes(dynamize(plain, torch.randn(1, 1, 20)), 0.5)
        run = CompiledNetwork(dynamic, backend=backend)
        for length in (20, 31):
            x = torch.randn(2, 1, length)
            torch.testing.assert_close(run(x), dynamic(x))
    assert len(graphs) == 24
    assert all(
        isinstance(n, int)
        for g in graphs
        for x in g.graph.nodes
        if x.op == "placeholder"
        for n in x.meta["example_value"].shape
    )


def test_a_network_whose_sizes_move_is_refused() -> None:
    dynamic = dynamize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(1, 4)).train()
    with pytest.raises(ValueError, match="sizes are being learned"):
        CompiledNetwork(dynamic)(torch.randn(2, 4))


def test_inductor_compiles_what_the_default_backend_is_given() -> None:
    torch.manual_seed(0)
    torch.compiler.reset()
    plain = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    dynamic = at_sizes(dynamize(plain, torch.randn(1, 4)), 0.5)
    x = torch.randn(3, 4)
    torch.testing.assert_close(CompiledNetwork(dynamic)(x), dynamic(x))
