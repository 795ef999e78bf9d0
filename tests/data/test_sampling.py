from dyn_lightning.data.sampling import EpochSampler


def test_keys_carry_the_epoch_in_an_order_of_their_own():
    sampler = EpochSampler(range(10), seed=3)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert sorted(keys) == list(range(epoch * 10, epoch * 10 + 10))
        orders.append([key - epoch * 10 for key in keys])
    assert orders[0] != orders[1] != orders[2]
    again = EpochSampler(range(10), seed=3)
    again.set_epoch(2)
    assert [key - 20 for key in again] == orders[2]
    assert list(EpochSampler(range(10), seed=4)) != orders[0]


def test_processes_share_an_epoch():
    shares = []
    for rank in range(2):
        sampler = EpochSampler(range(10), seed=3, world_size=2, rank=rank)
        sampler.set_epoch(1)
        shares.append(list(sampler))
        assert len(shares[rank]) == 5
    assert sorted(shares[0] + shares[1]) == list(range(10, 20))


def test_unshuffled():
    assert list(EpochSampler(range(4), shuffle=False)) == [0, 1, 2, 3]
