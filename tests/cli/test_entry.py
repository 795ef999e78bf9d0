"""Which command stands where."""

from dyn_lightning.cli.entry import TRAINING
from dyn_lightning.cli.training import WidthsCLI


def test_the_list_of_training_commands_is_lightnings_own():
    assert set(WidthsCLI.subcommands()) == set(TRAINING)
