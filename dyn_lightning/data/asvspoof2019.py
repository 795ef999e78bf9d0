"""Anti-spoofing: bona fide or spoofed speech, from ASVspoof2019 and corpora of its layout."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dyn_lightning.checks import at_least, whole
from dyn_lightning.data.asvspoof_protocols import (
    find_root,
    read_part_asv_rates,
    scan,
)
from dyn_lightning.data.audio import MAX_DURATION_S, DatasetError
from dyn_lightning.data.augment import Augmentation, RawBoostNoise
from dyn_lightning.data.balance import BalancedChoice
from dyn_lightning.data.corpora import SpoofCorpus, Utterance, spoof_corpus
from dyn_lightning.data.corpora.asvspoof import BONA_FIDE_SYSTEM, Part
from dyn_lightning.data.crops import centre_crop, random_crop
from dyn_lightning.data.sampling import EpochSampler, epoch_sampler, make_loader
from dyn_lightning.data.utterance_store import UtteranceStore
from dyn_lightning.errors import SettingError

Item = dict[str, Any]
Batch = dict[str, Any]

_PARTS_OF_STAGE: dict[str | None, tuple[Part, ...]] = {
    "fit": ("train", "dev"),
    "validate": ("dev",),
    "test": ("eval",),
    "predict": (),
    None: ("train", "dev", "eval"),
}


class TrainingCrops(Dataset[Item]):
    """Random crops by key: item ``divmod(key, n)`` = (epoch, index), each with a generator of its own.

    Args:
        utterances: those of the part.
        store: their audio.
        n_samples: length of an item.
        seed: what seeds the generators, together with epoch and index.
        augmentation: what is done to the audio.
        balanced: as many bona fide as spoofed items in each epoch.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        store: UtteranceStore,
        n_samples: int,
        seed: int,
        augmentation: Augmentation,
        balanced: bool = False,
    ) -> None:
        self.utterances, self.store, self.n_samples, self.seed = utterances, store, n_samples, seed
        self.augmentation = augmentation
        self.choice = BalancedChoice([u.target for u in utterances], seed) if balanced else None

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, key: int) -> Item:
        epoch, index = divmod(key, len(self))
        rng = np.random.default_rng((self.seed, epoch, index))
        number = index if self.choice is None else self.choice(epoch, index)
        samples = self.augmentation.before_crop(self.store.read(number), rng)
        samples = self.augmentation.after_crop(random_crop(samples, self.n_samples, rng), rng)
        return _item(self.utterances[number], torch.from_numpy(samples))


class EvaluationCrops(Dataset[Item]):
    """Crops out of the middle, always the same.

    Args:
        utterances: those of the part.
        store: their audio.
        n_samples: length of an item.
        asv_rates: (false alarms, misses, spoofs rejected) of the ASV system, or None where unknown.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        store: UtteranceStore,
        n_samples: int,
        asv_rates: tuple[float, float, float] | None = None,
    ) -> None:
        self.utterances, self.store, self.n_samples, self.asv_rates = utterances, store, n_samples, asv_rates

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, index: int) -> Item:
        samples = centre_crop(self.store.read(index), self.n_samples)
        return _item(self.utterances[index], torch.from_numpy(samples), self.asv_rates)


def _item(utterance: Utterance, audio: Tensor, asv_rates: tuple[float, float, float] | None = None) -> Item:
    meta: dict[str, object] = {"speaker": utterance.speaker, "system": utterance.system}
    if asv_rates is not None:
        meta["asv_rates"] = asv_rates
    return {
        "audio": audio,
        "length": len(audio),
        "target": utterance.target,
        "utterance_id": utterance.utterance_id,
        "meta": meta,
    }


def collate(items: list[Item]) -> Batch:
    """Stacks items of equal length to ``audio`` (batch, samples), ``target`` (batch,) and so on."""
    metas = [item["meta"] for item in items]
    meta: dict[str, Any] = {name: [m[name] for m in metas] for name in ("speaker", "system")}
    if "asv_rates" in metas[0]:
        meta["asv_rates"] = torch.tensor([m["asv_rates"] for m in metas], dtype=torch.float64)
    return {
        "audio": torch.stack([item["audio"] for item in items]),
        "length": torch.tensor([item["length"] for item in items]),
        "target": torch.tensor([item["target"] for item in items]),
        "utterance_id": [item["utterance_id"] for item in items],
        "meta": meta,
    }


def load_part(data_root: str | os.PathLike[str], corpus: SpoofCorpus, part: Part) -> list[Utterance]:
    """Utterances of a part; files without a line are warned of.

    Raises:
        DatasetError: lines and files do not match; all problems in one message.
    """
    if corpus.list_part is not None:
        return _checked(corpus.list_part(Path(data_root), part), f"{corpus.title}, part {part}")
    found = scan(find_root(data_root, corpus), corpus, part)
    if found.problems:
        raise DatasetError("\n".join(found.problems))
    if found.strays is not None:
        rank_zero_warn(found.strays)
    return found.utterances


def _checked(utterances: Any, where: str) -> list[Utterance]:
    """Raises DatasetError for what a user's function gave where these are no utterances, or none."""
    found = list(utterances)
    if not found or not all(isinstance(one, Utterance) for one in found):
        raise DatasetError(f"{where}: its function has to give Utterances, one at least")
    return found


def asv_rates(
    data_root: str | os.PathLike[str], corpus: SpoofCorpus, part: Part, utterances: Sequence[Utterance]
) -> tuple[float, float, float] | None:
    """Error rates of the organisers' ASV system on a part, at the threshold of its equal error rate.

    Returns:
        (false alarms of non-targets, misses of targets, spoofs rejected), or None, with a message, where the
        score file is absent, or the corpus has another t-DCF than that of 2019.

    Raises:
        DatasetError: the file is malformed or belongs to another part, or the t-DCF is not defined for such rates.
    """
    if part not in corpus.asv_scores:
        rank_zero_info(f"{corpus.title}: min t-DCF is that of ASVspoof2019, so it is left out here.")
        return None
    root = find_root(data_root, corpus)
    systems = {u.system for u in utterances} - {BONA_FIDE_SYSTEM}
    rates = read_part_asv_rates(root, corpus, part, systems)
    if rates is None:
        place = root / corpus.asv_scores[part]
        rank_zero_info(f"{place}: no ASV scores, so min t-DCF of the part {part} is left out.")
    return rates


class ASVspoof2019DataModule(lightning.LightningDataModule):
    """ASVspoof2019, logical or physical access: trains on *train*, validates on *dev*, tests on *eval*.

    Training crops are new in each epoch and the same again for the same ``train_seed``, whatever the number of
    workers. Validation and test take the middle of each utterance, so nothing is drawn there. Utterances that are
    too short are repeated from their beginning.

    A batch is a dict of ``audio`` (batch, samples) float32, ``length`` (batch,) in samples, ``target`` (batch,)
    int64 (1 bona fide, 0 spoofed), ``utterance_id`` (a list) and ``meta`` with the lists ``speaker`` and
    ``system`` ("-" for bona fide) and, in validation and test where the part's ASV scores are present,
    ``asv_rates`` (batch, 3) float64: the ASV system's false alarms of non-targets, misses of targets, and share of
    spoofs that it rejects, for min t-DCF.

    Args:
        data_root: holds ``ASVspoof2019_LA_train`` and its siblings, or is one or two folders named ``LA`` above
            them (``PA`` for physical access).
        batch_size: items per batch.
        n_samples: length of an item; 64,600 (4.04 s) is customary.
        partition: "LA" or "PA". Of a corpus of your own: the path of a function, (data root, part) → its utterances,
            such as ``my_package.my_corpus``, or of a ``SpoofCorpus`` (see :mod:`dyn_lightning.data.corpora`).
        balanced: as many bona fide as spoofed items in each training epoch, which keeps its length; see
            :class:`~dyn_lightning.data.balance.BalancedChoice`.
        speed_factors: speed perturbation in training, e.g. [0.9, 1.0, 1.1]: one of them is drawn for each item.
        rawboost: kinds of RawBoost noise in training, in this order, see :mod:`dyn_lightning.data.augment`.
        also_test: further corpora below data_root ("ASVspoof2021_LA", "ASVspoof2021_DF", "ASVspoof5", or as for
            ``partition``) whose evaluation part is tested as well, without t-DCF: theirs is not that of 2019.
        sample_rate: in Hz; files at other rates are resampled when read.
        train_seed: decides training crops, augmentation, and the order of the items; None is 0, and on the command line
            ``seed_everything``.
        num_workers: loader processes.
        cache_mib: memory for decoded audio in MiB, for each part and in each worker; a minute takes 3.7.
            What finds no room is decoded again each time.

    Raises:
        DatasetError: in ``setup``: files or lines are missing, malformed or repeated.
        AudioError: while loading: a file that cannot be used.
        SettingError: n_samples below 1, a speed factor outside [0.5, 2], or an unknown kind of noise.
    """

    def __init__(
        self,
        data_root: str,
        batch_size: int = 32,
        n_samples: int = 64600,
        partition: str = "LA",
        balanced: bool = False,
        speed_factors: list[float] | None = None,
        rawboost: list[RawBoostNoise] | None = None,
        also_test: list[str] | None = None,
        sample_rate: int = 16000,
        train_seed: int | None = None,
        num_workers: int = 0,
        cache_mib: float = 1024.0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        whole(1, batch_size=batch_size, n_samples=n_samples, sample_rate=sample_rate)
        whole(0, num_workers=num_workers, train_seed=train_seed)
        at_least(0.0, cache_mib=cache_mib)
        if n_samples > (longest := int(MAX_DURATION_S * sample_rate)):
            raise SettingError(f"n_samples={n_samples} must be at most {longest}: an item is held in memory")
        self.data_root = Path(data_root)
        self.corpus = spoof_corpus(partition, "partition")
        self.batch_size, self.n_samples, self.sample_rate = batch_size, n_samples, sample_rate
        self.train_seed, self.num_workers, self.cache_mib = train_seed or 0, num_workers, cache_mib
        self.balanced = balanced
        self.also_test = {name.rpartition(".")[2]: spoof_corpus(name, "also_test") for name in also_test or ()}
        self.augmentation = Augmentation(sample_rate, tuple(speed_factors or ()), tuple(rawboost or ()))
        self.train_set: TrainingCrops | None = None
        self.eval_sets: dict[str, EvaluationCrops] = {}

    @property
    def test_names(self) -> list[str]:
        """Names of the test sets, in the order of the test loaders: "eval", then ``also_test``."""
        return ["eval", *self.also_test]

    def setup(self, stage: str | None = None) -> None:
        """Reads the protocols of the stage's parts and lists their files; reads no audio yet."""
        parts = _PARTS_OF_STAGE[stage]
        wanted: list[tuple[str, SpoofCorpus, Part]] = [(part, self.corpus, part) for part in parts]
        if "eval" in parts:
            wanted += [(name, corpus, "eval") for name, corpus in self.also_test.items()]
        problems = []
        for name, corpus, part in wanted:
            try:
                if part == "train":
                    self._add_train_set()
                else:
                    self._add_eval_set(name, corpus, part)
            except DatasetError as error:  # the other parts' are told as well
                problems.append(str(error))
        if problems:
            raise DatasetError("\n".join(dict.fromkeys(problems)))

    def _add_train_set(self) -> None:
        if self.train_set is None:
            utterances = load_part(self.data_root, self.corpus, "train")
            self.train_set = TrainingCrops(
                utterances, self._store(utterances), self.n_samples, self.train_seed, self.augmentation, self.balanced
            )

    def _add_eval_set(self, name: str, corpus: SpoofCorpus, part: Part) -> None:
        if name in self.eval_sets:
            return
        utterances = load_part(self.data_root, corpus, part)
        rates = asv_rates(self.data_root, corpus, part, utterances)
        self.eval_sets[name] = EvaluationCrops(utterances, self._store(utterances), self.n_samples, rates)

    def _store(self, utterances: Sequence[Utterance]) -> UtteranceStore:
        return UtteranceStore([u.path for u in utterances], self.sample_rate, self.cache_mib)

    def _loader(self, dataset: Dataset[Item], sampler: EpochSampler | None = None) -> DataLoader[Item]:
        workers, seed = self.num_workers, self.train_seed
        return make_loader(dataset, self.batch_size, collate, num_workers=workers, seed=seed, sampler=sampler)

    def train_dataloader(self) -> DataLoader[Item]:
        """Training crops, new in each epoch and in a new order."""
        assert self.train_set is not None, "setup('fit') comes first"
        return self._loader(self.train_set, epoch_sampler(self.train_set, self.train_seed, self.trainer))

    def val_dataloader(self) -> DataLoader[Item]:
        """The development part, always the same."""
        return self._loader(self.eval_sets["dev"])

    def test_dataloader(self) -> list[DataLoader[Item]]:
        """One loader for each of :attr:`test_names`."""
        return [self._loader(self.eval_sets[name]) for name in self.test_names]
