"""Imitation: losses by hand, features through maps that follow sizes, and no trace in what ships."""

import copy
import pickle
from typing import Any

import lightning
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from dyn_lightning import DynamicModule, consolidate, dynamize
from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch, Reorder
from dyn_lightning.errors import SettingError, UserError
from dyn_lightning.metrics.info import MetricInfo
from dyn_lightning.network.reorder import reorder
from dyn_lightning.objectives import FlopsBudget
from dyn_lightning.tasks import Classification, FrameDetection, Imitation
from dyn_lightning.tasks.features import feature_of, whole_features


class Net(nn.Module):
    """(B, 3, T) → logits (B, 2) and an embedding (B, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.mix = nn.Conv1d(8, 4, 1)
        self.gru = nn.GRU(4, 6, batch_first=True)
        self.embed, self.out = nn.Linear(6, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.mix(self.norm(self.conv(x)).relu())
        embedding = self.embed(self.gru(x.transpose(1, 2))[0].mean(1))
        return {"logits": self.out(embedding), "embedding": embedding}


def make(**options: Any) -> tuple[Any, Imitation, Tensor]:
    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(4, 3, 7)
    dynamic = dynamize(net, x, dynamic=["conv", "gru*"])
    for width in dynamic.widths.values():
        width.set_learning(False)
    task = Imitation(**options)
    task.follow(net)
    task.attach(dynamic)
    return dynamic, task, x


def step(dynamic: Any, task: Imitation, x: Any) -> Tensor:
    with task.watching(dynamic):
        output = dynamic(task.input_of(x))
    return task.loss(output, x)


def test_outputs_by_their_losses_and_what_was_chosen_is_said():
    dynamic, task, x = make(features=[], temperature=2.0)
    dynamic.widths["conv"].freeze(3)
    output, teacher = dynamic.eval()(x), task.teacher(x)
    kl = 4 * F.kl_div(
        (output["logits"] / 2).log_softmax(-1), (teacher["logits"] / 2).softmax(-1), reduction="batchmean"
    )
    cosine = 1 - F.cosine_similarity(output["embedding"], teacher["embedding"]).mean()
    torch.testing.assert_close(task.loss(output, x), kl + cosine)
    assert task.chosen == {"logits": "kl", "embedding": "cosine"}
    assert task.told() == "logits: Kullback-Leibler divergence of logits, embedding: one minus the cosine"


def test_the_caller_s_choice_holds():
    dynamic, task, x = make(features=[], outputs={"logits": "l1", "embedding": "ignore"})
    dynamic.widths["conv"].freeze(3)
    output, teacher = dynamic.eval()(x)["logits"], task.teacher(x)["logits"]
    torch.testing.assert_close(task.loss(dynamic(x), x), F.l1_loss(output, teacher) / teacher.abs().mean())


def test_by_default_features_are_those_that_stay_whole():
    dynamic, task, _ = make()
    assert whole_features(dynamic) == ["mix", "embed"]
    assert not any(task.parameters())
    attention = dynamize(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), torch.randn(1, 5, 8))
    assert whole_features(attention) == ["self_attn", "linear2"]


def test_features_of_learned_sizes_go_through_maps_that_follow():
    dynamic, task, x = make(features=["mix", "norm", "gru"], feature_weight=0.5)
    assert {n: tuple(p.shape) for n, p in task.named_parameters()} == {
        "maps.norm.weight": (8, 8), "maps.gru.weight": (6, 6),
    }  # fmt: skip
    dynamic.eval()
    assert float(step(dynamic, task, x).detach()) < 1e-5  # identity maps: the network still is its teacher
    dynamic.widths["conv"].freeze(3)
    seen: dict[str, dict[str, Tensor]] = {}
    for name, net in (("mine", dynamic), ("theirs", task.teacher)):
        of: dict[str, Tensor] = {}
        handles = [
            net.get_submodule(n).register_forward_hook(
                lambda m, a, y, of=of, n=n: of.__setitem__(n, y[0] if isinstance(y, tuple) else y)
            )
            for n in ("mix", "norm", "gru")
        ]
        of |= net(x)
        seen[name] = of
        for handle in handles:
            handle.remove()
    expected = []
    for name, dim in (("mix", 1), ("norm", 1), ("gru", -1)):
        mine, theirs = seen["mine"][name], seen["theirs"][name]
        if name == "norm":
            mine = F.pad(mine, (0, 0, 0, 5))  # the identity's first three columns
        cosine = F.cosine_similarity(mine, theirs, dim=dim)
        expected.append(
            (mine - theirs).abs().mean() / theirs.abs().mean()
            + (-F.logsigmoid(cosine) + F.logsigmoid(torch.ones(()))).mean()
        )
    outputs = task.eval().loss(dynamic(x), x)
    task.train()
    torch.testing.assert_close(step(dynamic, task, x), outputs + 0.5 * torch.stack(expected).mean())
    step(dynamic, task, x).backward()
    gradient = task.maps["norm"].weight.grad
    assert (gradient[:, 3:] == 0).all()
    assert (gradient[:, :3] != 0).any()


def test_maps_move_with_elements_and_stay_when_it_is_attached_again():
    dynamic, task, x = make(features=["norm"])
    dynamic.eval()
    reorder(dynamic, {"conv": torch.rand(8)}, also=task)
    task.attach(dynamic)
    assert float(step(dynamic, task, x).detach()) < 1e-5
    other = dynamize(Net().eval(), x, dynamic=["conv"])
    task.attach(other)
    torch.testing.assert_close(task.maps["norm"].weight.detach(), torch.eye(8))


def test_features_of_blocks_are_those_of_their_last_layer():
    block = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    net = nn.Sequential(block, nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(54, 2))
    dynamic = dynamize(net, torch.randn(2, 1, 7, 7))
    feature = feature_of(dynamic, "0")
    assert (feature.dim, feature.size) == (1, 4)
    assert feature.layout is not None
    with pytest.raises(SettingError, match=r"no layer is called 'x'; there are 0, 0\.0"):
        feature_of(dynamic, "x")
    with pytest.raises(SettingError, match=r"0\.2 holds no layer whose size is known"):
        feature_of(dynamic, "0.2")


def test_no_trace_in_what_ships_or_is_copied():
    dynamic, task, x = make(features=["norm"])
    step(dynamic, task, x).backward()
    for net in (dynamic, task.teacher, copy.deepcopy(dynamic), consolidate(dynamic.eval(), [x])[0]):
        own = [h for m in net.modules() for h in m._forward_hooks.values()]
        assert not [h for h in own if "features" in getattr(h, "__module__", "")]
    assert not any("teacher" in key for key in task.state_dict())
    both, again = pickle.loads(pickle.dumps((dynamic, task)))
    torch.testing.assert_close(step(both, again, x), step(dynamic, task, x))
    assert again.maps["norm"].in_width.widths[0] is both.widths["conv"]


def test_batches_of_all_kinds_and_stored_outputs():
    dynamic, task, x = make(features=[])
    dynamic.widths["conv"].freeze(3)
    expected = step(dynamic.eval(), task, x)
    for batch in ({"audio": x}, (x, None), [x]):
        torch.testing.assert_close(step(dynamic, task, batch), expected)
        assert task.size_of(batch) == 4
    stored = {"audio": x, "teacher": task.teacher(x)}
    task.set_teacher(nn.Identity())  # would fail
    torch.testing.assert_close(step(dynamic, task, stored), expected)


def test_a_labelled_task_is_added_and_says_what_logits_are():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.randn(6, 4)
    batch = {"audio": x, "target": torch.arange(6) % 2}
    task = Imitation(task=Classification(), task_weight=0.25)
    task.follow(net)
    task.attach(dynamize(net, x))
    student = nn.Linear(4, 2)(x)
    expected = 0.25 * F.cross_entropy(student, batch["target"]) + F.kl_div(
        student.log_softmax(-1), net(x).softmax(-1), reduction="batchmean"
    )
    torch.testing.assert_close(task.eval().loss(student, batch), expected)
    assert task.name == "Classification"
    frames = Imitation(task=FrameDetection())
    frames.set_teacher(nn.Identity())
    frames.loss(x, {"audio": x})
    assert frames.chosen == {"output": "bce"}


def test_metrics_are_means_over_items():
    dynamic, task, x = make(features=[])
    dynamic.widths["conv"].freeze(3)
    dynamic.eval()
    metrics = task.new_metrics()
    for batch in (x[:3], x[3:]):
        metrics.update(dynamic(batch), batch)
    found = metrics.compute()
    assert set(found) == {"distance", "distance_logits", "distance_embedding"}
    torch.testing.assert_close(found["distance"], task.eval().loss(dynamic(x), x))
    told = metrics.describe(found)
    assert told["distance_logits"] == MetricInfo("distance from teacher logits", lower_is_better=True)


def test_what_cannot_be():
    with pytest.raises(SettingError, match=r"task_weight=1\.0 has no task"):
        Imitation(task_weight=1.0)
    with pytest.raises(SettingError, match="outputs='mse' is unknown"):
        Imitation(outputs="mse")
    with pytest.raises(SettingError, match="no teacher yet"):
        _ = Imitation().teacher
    dynamic, task, x = make(features=[], outputs={"logit": "kl"})
    with pytest.raises(SettingError, match="there is no logit; the network answers logits, embedding"):
        task.loss(dynamic(x), x)
    dynamic, task, x = make()
    with pytest.raises(UserError, match="no feature was seen in a training step"):
        task.loss(dynamic(x), x)
    with pytest.raises(UserError, match="the network answers a, its teacher b"):
        task.distances({"a": x}, {"b": x})


def test_in_a_run_maps_learn_move_with_elements_and_resume(tmp_path: Any):
    def module() -> DynamicModule:
        torch.manual_seed(0)
        return DynamicModule(
            Net().eval(), Imitation(features=["norm"]), FlopsBudget(share=0.4), dynamic=["conv", "gru*"],
            example_shape=[1, 3, 7], example_duration_s=None, lr=1e-2, lr_lam=0.05,
        )  # fmt: skip

    def trainer(epochs: int) -> lightning.Trainer:
        return lightning.Trainer(
            max_epochs=epochs, accelerator="cpu", callbacks=[PhaseSwitch(0, 2), LambdaClamp(), Reorder(2, every=3)],
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    torch.manual_seed(1)
    loader = DataLoader(torch.randn(16, 3, 7), batch_size=4)  # type: ignore[arg-type]
    run, first = trainer(3), module()
    run.fit(first, loader, loader)
    assert first.phase == "settle"
    assert first.complexity.flops_now() <= first.objective.budget(first.complexity)
    assert "val/distance" in run.callback_metrics
    weight = first.task.maps["norm"].weight
    assert not torch.equal(weight.diag(), torch.ones(8))
    run.save_checkpoint(tmp_path / "x.ckpt")
    again = module()
    trainer(4).fit(again, loader, ckpt_path=tmp_path / "x.ckpt", weights_only=True)
    assert again.phase == "settle"
