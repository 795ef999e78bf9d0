"""Regression: loss and metric by hand."""

import pytest
import torch

from dyn_lightning.tasks import Regression, pad_outputs


def test_regression_counts_absent_outputs_as_zeros():
    output, target = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 2.0, 3.0, -1.0]])
    assert Regression().loss(output, {"target": target}).item() == pytest.approx((0.5 + 3 + 1) / 4)
    metrics = Regression().new_metrics()
    metrics.update(output, {"target": target})
    assert float(metrics.compute()["l1"]) == pytest.approx(4.5 / 4)


def test_pad_outputs_refuses_more_outputs_than_targets():
    with pytest.raises(ValueError, match="n_outputs"):
        pad_outputs(torch.zeros(1, 5), torch.zeros(1, 4))
