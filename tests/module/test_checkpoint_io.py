"""A checkpoint is whole or not there, whoever writes it, and one that cannot be read is named."""

import errno
import os
import resource
import signal
import zipfile

import pytest
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from dyn_lightning.callbacks import WidthsCheckpoint
from dyn_lightning.errors import FileError, UserError
from dyn_lightning.module.checkpoint_io import WholeCheckpointIO, read_checkpoint

CONTENT = {"state_dict": {"a": torch.arange(50000.0)}, "epoch": 1}


@pytest.fixture
def small_files():
    """No file may grow beyond 100 kB, as on a disk that is full."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_is_written_comes_back(tmp_path):
    path = tmp_path / "run" / "last.ckpt"
    WholeCheckpointIO().save_checkpoint(CONTENT, path)
    found = TorchCheckpointIO().load_checkpoint(path, weights_only=True)
    torch.testing.assert_close(found, CONTENT)
    torch.testing.assert_close(WholeCheckpointIO().load_checkpoint(path), CONTENT)
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, small_files):
    path = tmp_path / "last.ckpt"
    WholeCheckpointIO().save_checkpoint({"epoch": 0}, path)
    with pytest.raises(FileError, match=r"last\.ckpt: would be larger than is allowed.*resume with --ckpt_path"):
        WholeCheckpointIO().save_checkpoint(CONTENT, path)
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert read_checkpoint(path) == {"epoch": 0}


def test_the_folder_of_temporary_files_is_not_used(tmp_path, monkeypatch, make_module, make_trainer, data):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "absent"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    stock = ModelCheckpoint(tmp_path / "stock", save_last=True)
    trainer = make_trainer(WidthsCheckpoint(), stock, max_epochs=1)
    assert type(trainer.strategy.checkpoint_io) is TorchCheckpointIO
    trainer.fit(make_module(), data)
    assert type(trainer.strategy.checkpoint_io) is WholeCheckpointIO
    assert "last.ckpt" in os.listdir(tmp_path / "stock")
    read_checkpoint(tmp_path / "stock" / "last.ckpt")


def test_what_the_user_gave_stays(make_module, make_trainer, data):
    class Own(TorchCheckpointIO):
        pass

    for given in (Own(), AsyncCheckpointIO(), AsyncCheckpointIO(Own())):
        trainer = make_trainer(WidthsCheckpoint(), max_epochs=1, plugins=[given])
        trainer.fit(make_module(), data)
        assert trainer.strategy.checkpoint_io is given
    assert type(given.checkpoint_io) is Own


@pytest.mark.parametrize("size", [0, 1, 4, 100, 1000, -100, -1])
def test_a_torn_checkpoint_is_named(tmp_path, size):
    path = tmp_path / "last.ckpt"
    torch.save(CONTENT, path)
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with pytest.raises(UserError, match=r"last\.ckpt: is no checkpoint, or a damaged one\. Give another$"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content", [b"hello", b'{"a": 1}', b"\x89PNG\r\n", b"\x80\x02}q\x00.", b"PK\x03\x04" + b"0" * 60]
)
def test_another_kind_of_file_is_named(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"x\.ckpt: is no checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_other_content_is_named(tmp_path):
    torch.save({"a": pytest.raises}, tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt: holds more than tensors .*raises.*--weights_only false"):
        read_checkpoint(tmp_path / "x.ckpt")
    torch.save([1], tmp_path / "x.ckpt")
    with pytest.raises(UserError, match="holds a list, no checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")
    with pytest.raises(FileError, match=r"absent\.ckpt: no such file"):
        read_checkpoint(tmp_path / "absent.ckpt")
    with pytest.raises(FileError, match="is a folder"):
        read_checkpoint(tmp_path)


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", b"\0" * 2**27)
    with pytest.raises(UserError, match=r"0 MB would unpack to 0\.1 GB"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_what_the_system_refuses_is_said(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.EROFS, "read-only")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(FileError, match="file system can only be read"):
        WholeCheckpointIO().save_checkpoint(CONTENT, tmp_path / "x.ckpt")
    assert os.listdir(tmp_path) == []
