import os
import pickle
import shutil
from collections import Counter
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from torch import nn

from dyn_lightning.data.asvspoof2019 import ASVspoof2019DataModule
from dyn_lightning.data.audio import AudioError, DatasetError, read_audio
from tests.data.asvspoof_tree import (
    asv_score_lines,
    make_5,
    make_2019,
    make_2021,
    protocol_2019,
    scores_2019,
    write_flac,
    write_lines,
)

REAL = Path(os.environ.get("DATA_ROOT", Path(__file__).parents[2] / "../shared/data")) / "MiniSpoof"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """17 training utterances, 5 of them bona fide, of 700 to 860 samples. Not to be written to."""
    return make_2019(tmp_path_factory.mktemp("la"), n_bona_fide=5, n_spoof=6, asv_scores=True)


def make(root, stage=None, **options):
    module = ASVspoof2019DataModule(str(root), **{"batch_size": 4, "n_samples": 500} | options)
    module.setup(stage)
    return module


def epoch_of(module, epoch=0):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def joined(batches, name):
    return [value for batch in batches for value in batch[name]]


def same(left, right):
    return all(
        torch.equal(a["audio"], b["audio"])
        and torch.equal(a["target"], b["target"])
        and a["utterance_id"] == b["utterance_id"]
        for a, b in zip(left, right, strict=True)
    )


def test_batch(root):
    batch = epoch_of(make(root))[0]
    assert batch["audio"].shape == (4, 500)
    assert batch["audio"].dtype == torch.float32
    assert batch["length"].tolist() == [500] * 4
    assert batch["target"].dtype == torch.int64
    assert set(batch["meta"]) == {"speaker", "system"}
    assert [system == "-" for system in batch["meta"]["system"]] == [target == 1 for target in batch["target"]]
    assert set(batch["meta"]["speaker"]) <= {"LA_0000", "LA_0001"}


def test_parts_hold_their_protocols(root):
    module = make(root)
    ids = {
        "T": joined(epoch_of(module), "utterance_id"),
        "D": joined(module.val_dataloader(), "utterance_id"),
        "E": joined(module.test_dataloader()[0], "utterance_id"),
    }
    for letter, count in (("T", 17), ("D", 17), ("E", 23)):
        assert sorted(ids[letter]) == [f"LA_{letter}_{i:07d}" for i in range(count)]
    assert ids["D"] == sorted(ids["D"])
    assert module.test_names == ["eval"]


def test_evaluation_takes_the_middle(root):
    (batch, *_) = make(root).val_dataloader()
    for i in range(4):
        whole = read_audio(root / f"ASVspoof2019_LA_dev/flac/LA_D_{i:07d}.flac", 16000)
        np.testing.assert_array_equal(batch["audio"][i].numpy(), whole[100 + 5 * i : 600 + 5 * i])


def test_short_utterances_are_repeated(root):
    module = make(root, n_samples=1000)
    for batch in (*epoch_of(module), *module.val_dataloader()):
        for audio, name in zip(batch["audio"], batch["utterance_id"], strict=True):
            part = {"T": "train", "D": "dev"}[name[3]]
            whole = read_audio(root / f"ASVspoof2019_LA_{part}/flac/{name}.flac", 16000)
            assert len(whole) < 1000
            np.testing.assert_array_equal(audio.numpy(), np.concatenate([whole, whole])[:1000])


def test_training_crops_are_pieces_and_new_in_each_epoch(root):
    module = make(root)
    starts = set()
    for epoch in range(3):
        for batch in epoch_of(module, epoch):
            for audio, name in zip(batch["audio"], batch["utterance_id"], strict=True):
                whole = read_audio(root / f"ASVspoof2019_LA_train/flac/{name}.flac", 16000)
                windows = np.lib.stride_tricks.sliding_window_view(whole, 500)
                (start,) = np.flatnonzero((windows == audio.numpy()).all(axis=1))
                starts.add((name, int(start)))
    assert len(starts) > 45  # of 51 draws among at least 201 places each


ALL_DRAWS = {
    "balanced": True,
    "rawboost": ["convolutive", "impulsive", "stationary"],
    "speed_factors": [0.9, 1.0, 1.1],
}


@pytest.mark.parametrize("options", [{}, ALL_DRAWS], ids=["crops", "everything"])
def test_items_do_not_depend_on_workers_batches_or_cache(root, options):
    expected = epoch_of(make(root, **options), epoch=1)
    assert same(expected, epoch_of(make(root, num_workers=2, **options), epoch=1))
    assert same(expected, epoch_of(make(root, cache_mib=0.0, **options), epoch=1))
    others = epoch_of(make(root, batch_size=5, **options), epoch=1)
    assert torch.equal(torch.cat([b["audio"] for b in expected]), torch.cat([b["audio"] for b in others]))
    assert not same(expected, epoch_of(make(root, train_seed=1, **options), epoch=1))
    assert not same(expected, epoch_of(make(root, **options), epoch=2))


def test_data_sets_can_be_sent_to_spawned_workers(root):
    module = make(root, **ALL_DRAWS)
    expected = module.train_set[20]
    sent = pickle.loads(pickle.dumps(module.train_set))
    assert torch.equal(sent[20]["audio"], expected["audio"])
    assert pickle.loads(pickle.dumps(module.eval_sets["dev"]))[1]["utterance_id"] == "LA_D_0000001"


def test_evaluation_draws_nothing(root):
    plain = make(root)
    varied = make(root, train_seed=7, **ALL_DRAWS)
    assert same(plain.val_dataloader(), varied.val_dataloader())
    assert same(plain.test_dataloader()[0], varied.test_dataloader()[0])


def test_balanced_epochs_have_equal_shares_and_use_all_equally_often(root):
    """5 bona fide and 12 spoofed: 17 places an epoch, 9 and 8."""
    module = make(root, balanced=True)
    uses = Counter()
    for epoch in range(60):  # 540 bona fide places are 108 rounds of 5, 480 spoofed ones are 40 rounds of 12
        batches = epoch_of(module, epoch)
        assert sum(int(batch["target"].sum()) for batch in batches) == 9
        assert len(joined(batches, "target")) == 17
        uses.update(joined(batches, "utterance_id"))
    assert [uses[f"LA_T_{i:07d}"] for i in range(17)] == [108] * 5 + [40] * 12


def test_asv_rates(root):
    """The threshold is 1: one of four non-targets is accepted, no target missed, half of the spoofs rejected."""
    module = make(root)
    for loader in (module.val_dataloader(), *module.test_dataloader()):
        for batch in loader:
            rates = batch["meta"]["asv_rates"]
            assert rates.dtype == torch.float64
            assert rates.tolist() == [[0.25, 0.0, 0.5]] * len(batch["target"])


def test_each_part_has_asv_scores_of_its_own(tmp_path):
    root = make_2019(tmp_path, asv_scores=True)
    write_lines(scores_2019(root, "dev"), [*asv_score_lines(["A01", "A02"]), *["A01 spoof -9.0"] * 4])
    module = make(root)
    assert next(iter(module.val_dataloader()))["meta"]["asv_rates"][0].tolist() == [0.25, 0.0, 0.75]
    assert next(iter(module.test_dataloader()[0]))["meta"]["asv_rates"][0].tolist() == [0.25, 0.0, 0.5]
    scores_2019(root, "eval").unlink()
    module = make(root)
    assert "asv_rates" in next(iter(module.val_dataloader()))["meta"]
    assert "asv_rates" not in next(iter(module.test_dataloader()[0]))["meta"]


def test_missing_asv_scores_are_told(tmp_path, capsys, caplog):
    root = make_2019(tmp_path)
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        make(root, "validate")
    told = caplog.text + "".join(capsys.readouterr())
    assert f"{scores_2019(root, 'dev')}: no ASV scores, so min t-DCF of the part dev is left out." in told


def test_a_corpus_with_another_tdcf_is_told(tmp_path, capsys, caplog):
    root = make_2021(make_2019(tmp_path, asv_scores=True))
    with caplog.at_level("INFO", logger="lightning.pytorch.utilities.rank_zero"):
        module = make(root, "test", also_test=["ASVspoof2021_LA"])
    told = caplog.text + "".join(capsys.readouterr())
    assert "ASVspoof2021 LA: min t-DCF is that of ASVspoof2019, so it is left out here." in told
    assert told.count("left out") == 1
    assert ["asv_rates" in next(iter(loader))["meta"] for loader in module.test_dataloader()] == [True, False]


def test_scores_of_an_asv_system_without_a_tdcf_stop_the_setup(tmp_path):
    root = make_2019(tmp_path, asv_scores=True)
    lines = [line.replace("spoof 4.5", "spoof -9.0") for line in asv_score_lines(["A01", "A02"])]
    write_lines(scores_2019(root, "dev"), lines)
    with pytest.raises(DatasetError, match=r"dev\.gi\.trl\.scores\.txt: .*not defined"):
        make(root, "validate")


def test_scores_of_another_part_stop_the_setup(tmp_path):
    root = make_2019(tmp_path, asv_scores=True)
    shutil.copy(scores_2019(root, "eval"), scores_2019(root, "dev"))
    with pytest.raises(DatasetError, match="belongs to another part"):
        make(root, "validate")


def test_physical_access(tmp_path):
    systems = {part: ["AA", "CC"] for part in ("train", "dev", "eval")}
    make_2019(tmp_path / "PA", "PA", asv_scores=True, systems=systems)
    module = make(tmp_path, partition="PA")
    (batch, *_) = module.test_dataloader()[0]
    assert batch["utterance_id"][0] == "PA_E_0000000"
    assert set(joined(module.test_dataloader()[0], "meta")) == {"speaker", "system", "asv_rates"}
    assert {s for b in module.val_dataloader() for s in b["meta"]["system"]} == {"-", "AA", "CC"}


def test_further_corpora_can_be_tested(tmp_path):
    make_2019(tmp_path)
    make_2021(tmp_path)
    make_2021(tmp_path, "DF")
    make_5(tmp_path / "ASVspoof5")
    module = make(tmp_path, also_test=["ASVspoof2021_LA", "ASVspoof2021_DF", "ASVspoof5"])
    assert module.test_names == ["eval", "ASVspoof2021_LA", "ASVspoof2021_DF", "ASVspoof5"]
    sizes = [len(joined(loader, "utterance_id")) for loader in module.test_dataloader()]
    assert sizes == [9, 2, 3, 2]


def test_a_stage_needs_its_own_parts_alone(tmp_path):
    root = make_2019(tmp_path)
    shutil.rmtree(root / "ASVspoof2019_LA_eval")
    module = make(root, "fit")
    assert len(epoch_of(module)) == 2
    assert len(list(module.val_dataloader())) == 2
    with pytest.raises(DatasetError, match="ASVspoof2019_LA_eval"):
        module.setup("test")


def test_problems_stop_the_setup_all_at_once(tmp_path):
    root = make_2019(tmp_path)
    lines = protocol_2019(root, "train").read_text().splitlines()
    write_lines(protocol_2019(root, "train"), ["LA_0000 LA_T_0000000", *lines[1:], lines[1]])
    (root / "ASVspoof2019_LA_train/flac/LA_T_0000002.flac").unlink()
    with pytest.raises(DatasetError) as caught:
        make(root, "fit")
    for text in ("line 1 (2)", "named more than once (1): LA_T_0000001", "without a file (1): LA_T_0000002"):
        assert text in str(caught.value)


def test_problems_of_all_parts_are_told_at_once(tmp_path):
    root = make_2019(tmp_path)
    (root / "ASVspoof2019_LA_train/flac/LA_T_0000001.flac").unlink()
    (root / "ASVspoof2019_LA_dev/flac/LA_D_0000002.flac").unlink()
    with pytest.raises(DatasetError, match=r"\(1\): LA_T_0000001\..*\n.*\(1\): LA_D_0000002\."):
        make(root, "fit")
    with pytest.raises(DatasetError, match=r"^[^\n]*no such folder[^\n]*$"):  # once, not for each part
        make(tmp_path / "absent", "fit")


def test_a_file_without_a_line_is_only_warned_of(tmp_path):
    root = make_2019(tmp_path)
    write_flac(root / "ASVspoof2019_LA_train/flac/LA_T_x.flac", 100)
    with pytest.warns(UserWarning, match=r"files without a line in .* \(1\): LA_T_x"):
        module = make(root, "fit")
    assert "LA_T_x" not in joined(epoch_of(module), "utterance_id")


def test_truncated_audio_names_its_file(tmp_path):
    root = make_2019(tmp_path, n_samples=20000)
    path = root / "ASVspoof2019_LA_dev/flac/LA_D_0000003.flac"
    path.write_bytes(path.read_bytes()[:8000])
    with pytest.raises(AudioError, match=r"LA_D_0000003\.flac: .*Replace it"):
        list(make(root, "validate").val_dataloader())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_samples": 0}, "n_samples must be a whole number, 1 or more"),
        ({"n_samples": 10**12}, "n_samples=1000000000000 must be at most 57600000"),
        ({"speed_factors": [1.0, 3.0]}, r"3\.0 is not within"),
        ({"rawboost": ["pink"]}, "'pink' is unknown"),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        make(root, **options)


def test_loader_leaves_the_global_generator_alone(root):
    module = make(root)
    torch.manual_seed(0)
    epoch_of(module)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(drawn, torch.rand(1))


class Recorder(lightning.LightningModule):
    """Notes the items that it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.seen: list[tuple[str, float]] = []

    def training_step(self, batch, batch_index):
        self.seen += zip(batch["utterance_id"], batch["audio"].sum(dim=1).tolist(), strict=True)
        return (self.scale * batch["audio"]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(root, folder, epochs, checkpoint=None):
    model = Recorder()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = ASVspoof2019DataModule(str(root), batch_size=4, n_samples=500, **ALL_DRAWS)
    weights_only = True if checkpoint else None
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=weights_only)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return model


@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader.")
def test_a_resumed_run_sees_the_items_of_an_uninterrupted_one(root, tmp_path):
    whole = fit(root, tmp_path / "whole", 3)
    first = fit(root, tmp_path / "parts", 2)
    second = fit(root, tmp_path / "parts", 3, tmp_path / "parts/2.ckpt")
    assert len(set(whole.seen)) == 3 * 17
    assert first.seen + second.seen == whole.seen
    assert torch.equal(second.scale, whole.scale)


@pytest.mark.skipif(not REAL.is_dir(), reason="no MiniSpoof: set DATA_ROOT")
def test_minispoof():
    module = make(REAL, n_samples=64600, batch_size=32)
    assert [len(module.train_set), *map(len, module.eval_sets.values())] == [383, 153, 288]
    targets = torch.cat([batch["target"] for batch in module.test_dataloader()[0]])
    assert int(targets.sum()) == 125
    speakers = [{u.speaker for u in part.utterances} for part in (module.train_set, *module.eval_sets.values())]
    assert all(speakers)
    assert sum(map(len, speakers)) == len(set.union(*speakers))
    batch = epoch_of(module)[0]
    assert batch["audio"].shape == (32, 64600)
    assert float(batch["audio"].abs().amax(dim=1).min()) > 0.01
