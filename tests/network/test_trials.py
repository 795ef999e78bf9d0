import pytest

from dyn_lightning.graph import Size
from dyn_lightning.network.trials import uneven_sizes


@pytest.mark.parametrize("full_size", [4, 12, 19, 20, 37, 40, 64])
def test_sizes_that_could_be_taken_for_one_another_are_cut_apart(full_size: int) -> None:
    sizes = [Size(str(i), full_size) for i in range(4)]
    drawn = [uneven_sizes(sizes, attempt) for attempt in (0, 1)]
    assert len({tuple(found[size] for found in drawn) for size in sizes}) == len(sizes)
    assert all(1 <= found[size] < full_size for found in drawn for size in sizes)
