"""DynamicModule: phases, losses, and what a run leaves behind."""

import lightning
import pytest
import torch
from torch import nn

from dyn_lightning.callbacks import LambdaClamp, PhaseSwitch
from dyn_lightning.dynamize import dynamize
from dyn_lightning.module import DynamicModule
from dyn_lightning.objectives import FlopsBudget, LambdaSquared, Objective
from dyn_lightning.tasks import Regression


class Scripted(Objective):
    """Finished after a number of calls; freezes at given sizes."""

    def __init__(self, calls: int, sizes: dict[str, int]) -> None:
        super().__init__()
        self.calls, self.sizes, self.seen, self.after = calls, sizes, [], []

    @property
    def finished(self) -> bool:
        return len(self.seen) >= self.calls

    def final_sizes(self, dynamic) -> dict[str, int]:
        return self.sizes

    def forward(self, dynamic, task_loss, progress):
        self.seen.append((float(task_loss), progress))
        return sum(width.lam for width in dynamic.widths.values())

    def after_step(self, dynamic, progress):
        self.after.append((len(self.seen), progress))


class Watch(lightning.Callback):
    def __init__(self) -> None:
        self.gradients: list[tuple[str, float | None]] = []
        self.phases: list[str] = []

    def on_after_backward(self, trainer, module):
        grad = module.widths["bands"].theta.grad
        self.gradients.append((module.phase, None if grad is None else grad.item()))

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.phases.append(module.phase)


def test_lam_has_a_gradient_in_every_phase_and_only_the_search_fills_it(make_module, make_trainer, data):
    watch = Watch()
    make_trainer(watch, PhaseSwitch(1, 1), LambdaClamp(), max_epochs=3).fit(make_module(), data)
    assert [phase for phase, _ in watch.gradients] == ["warmup"] * 4 + ["search"] * 4 + ["settle"] * 4
    for phase, gradient in watch.gradients:
        assert (gradient != 0.0) if phase == "search" else (gradient == 0.0)


def test_warmup_trains_exactly_as_the_plain_backbone_does(make_module, make_trainer, data):
    plain, warm = make_module(dynamic=[]), make_module()
    for module in (plain, warm):
        make_trainer(PhaseSwitch(2, 1), StopAfter(8), max_epochs=3).fit(module, data)
    assert torch.equal(plain.network.bands.weight, warm.network.bands.weight)
    assert torch.equal(plain.network.readout.weight, warm.network.readout.weight)
    assert warm.phase == "warmup"


class StopAfter(lightning.Callback):
    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        trainer.should_stop = trainer.global_step >= self.steps


def test_a_finished_objective_freezes_at_once_at_its_own_sizes(make_module, make_trainer, data):
    objective, watch = Scripted(2, {"bands": 5}), Watch()
    module = make_module(objective=objective)
    make_trainer(watch, PhaseSwitch(1, 1), LambdaClamp(), max_epochs=3).fit(module, data)
    assert watch.phases == ["warmup"] * 4 + ["search"] * 2 + ["settle"] * 6
    assert [progress for _, progress in objective.seen] == [0.0, 0.25]
    assert objective.after == [(1, 0.25), (2, 0.5)]  # after the step, with the search's progress then
    assert module.widths["bands"].size == 5
    assert module.network.eval()(torch.rand(1, 65)).shape == (1, 8)


def test_a_search_that_runs_out_of_steps_freezes_at_the_objectives_sizes(make_module, make_trainer, data):
    module = make_module(objective=Scripted(10**6, {"bands": 7}))
    make_trainer(PhaseSwitch(0, 1), max_epochs=2).fit(module, data)
    assert (module.phase, module.widths["bands"].size) == ("settle", 7)


def test_the_validation_after_the_last_search_step_sees_the_final_sizes(make_module, make_trainer, data):
    sizes = []

    class Look(lightning.Callback):
        def on_validation_start(self, trainer, module):
            sizes.append(module.widths["bands"].current)

    module = make_module(objective=Scripted(10**6, {"bands": 7}))
    make_trainer(PhaseSwitch(0), Look(), max_epochs=1).fit(module, data)
    assert sizes == [7]


def test_the_objective_sees_the_task_loss_and_adds_its_penalty(make_module, make_trainer, data):
    objective = Scripted(10**6, {"bands": 16})
    module = make_module(objective=objective, lr_lam=0.0)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(module, data)
    logged = trainer.logged_metrics
    assert logged["train/loss"].item() == pytest.approx(objective.seen[-1][0])
    assert logged["train/penalty"].item() == pytest.approx(1.0)


def test_a_frozen_lam_is_not_moved_and_has_no_momentum(make_module, make_trainer, data):
    module = make_module(objective=Scripted(2, {"bands": 9}), lr_lam=0.2)
    thetas = []

    class Look(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            thetas.append(module.widths["bands"].theta.item())

    trainer = make_trainer(Look(), max_epochs=2)
    trainer.fit(module, data)
    assert thetas[0] > thetas[1] > thetas[2]
    assert set(thetas[2:]) == {thetas[2]}
    assert module.widths["bands"].theta not in trainer.optimizers[0].state


def test_phases_cannot_go_back_and_are_known_by_name(make_module):
    module = make_module()
    with pytest.raises(ValueError, match="warmup, search, settle"):
        module.set_phase("train")
    module.set_phase("settle")
    with pytest.raises(ValueError, match="frozen"):
        module.set_phase("search")


def test_phase_and_sizes_are_in_the_state_dict(make_module):
    module = make_module(objective=Scripted(1, {"bands": 6}))
    module.set_search_steps(3, 9)
    module.set_phase("settle")
    other = make_module(objective=Scripted(1, {"bands": 6}))
    assert other.phase == "search"
    other.load_state_dict(module.state_dict())
    assert other.phase == "settle"
    assert other.complexity.sizes_now == {"bands": 6}
    assert other._read() == ("settle", 3, 9)


def test_a_budget_out_of_reach_is_an_error_before_training(make_module, make_trainer, data):
    module = make_module(objective=FlopsBudget(flops_per_second=1.0))
    with pytest.raises(ValueError, match="out of reach"):
        make_trainer(LambdaClamp(0.5)).fit(module, data)


def test_unknown_pattern_lists_the_sizes(make_module):
    with pytest.raises(ValueError, match=r"(?s)nothing\*.*bands"):
        make_module(dynamic=["nothing*"])


def test_sizes_to_learn_need_an_objective(make_module):
    with pytest.raises(ValueError, match="objective"):
        make_module(objective=None)


def test_a_backbone_that_is_dynamic_already_keeps_its_widths():
    dynamic = dynamize(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)), torch.zeros(1, 4), duration_s=0.5)
    module = DynamicModule(dynamic, Regression(), LambdaSquared())
    assert module.network is dynamic
    assert module.complexity.unit == "flops_per_second"
    with pytest.raises(ValueError, match="widths already"):
        DynamicModule(dynamic, Regression(), LambdaSquared(), dynamic=["0"])


def test_hyperparameters_are_primitives(make_module):
    parameters = dict(make_module().hparams)
    assert parameters["lr"] == 1e-2
    assert not {"backbone", "task", "objective", "optimizer"} & set(parameters)


@pytest.mark.parametrize("dynamic", [None, []])
def test_a_compiled_run_is_the_uncompiled_one_and_its_search_is_not_compiled(
    dynamic, make_module, make_trainer, data, monkeypatch
):
    torch.compiler.reset()
    seen: list[str] = []
    compile_ = torch.compile

    def backend(graph, _inputs):
        seen.append(module.phase)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_(function, backend=backend, **options))
    runs = []
    for compiled in (False, True):
        module = make_module(dynamic=dynamic, compile=compiled)
        make_trainer(PhaseSwitch(1, 1), LambdaClamp(), max_epochs=3).fit(module, data)
        runs.append(module)
    # One graph to train and one to evaluate, at each set of sizes that stands still.
    assert seen == (["settle"] * 2 if dynamic == [] else ["warmup"] * 2 + ["settle"] * 2)
    for (name, one), two in zip(runs[0].state_dict().items(), runs[1].state_dict().values(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5, equal_nan=True, msg=name)
