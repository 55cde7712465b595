import os
import pickle
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.curation import file_index
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.images import read_photograph
from retinai.data.photographs.prepared_pixels import prepare_photograph
from retinai.data.photographs.preprocessing import Preprocessing

PREPARE = """
import sys
from pathlib import Path
from retinai.data.photographs.cache import PreparedCache
from retinai.data.photographs.preprocessing import Preprocessing
from retinai.errors import UserError
if __name__ == "__main__":
    settings = Preprocessing(int(sys.argv[3]), (0.5,) * 3, (0.5,) * 3)
    paths = sorted(map(str, Path(sys.argv[1]).glob("*.png")))
    try:
        print(len(PreparedCache(sys.argv[2], settings).prepare(paths, workers=int(sys.argv[4]), progress=None)))
    except UserError as error:
        sys.exit(f"error: {error}")
"""


def settings(size=64, **options):
    return Preprocessing(input_size=size, mean=(0.5,) * 3, std=(0.5,) * 3, **options)


@pytest.fixture
def folder(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for n in range(4):
        Image.fromarray(draw_eye(150 + n, 110, 50, seed=n)).save(photographs / f"{n}.png")
    time.sleep(0.06)  # new files settle, see test_file_index
    return photographs


def paths_of(folder):
    return sorted(map(str, folder.glob("*.png")))


@pytest.mark.parametrize(
    ("workers", "options"), [(0, {}), (0, {"ben_graham": True}), (0, {"clahe": True, "crop": "none"}), (2, {})]
)
def test_same_pixels_with_and_without_cache(folder, tmp_path, workers, options):
    cache = PreparedCache(tmp_path / "c", settings(**options))
    assert cache.load(folder / "0.png") is None
    cache.prepare(paths_of(folder), workers=workers, progress=None)
    for path in paths_of(folder):
        expected = prepare_photograph(read_photograph(path), settings(**options))
        for reader in (cache, PreparedCache(tmp_path / "c", settings(**options)), pickle.loads(pickle.dumps(cache))):
            loaded = reader.load(path)
            assert np.array_equal(loaded, expected)
            assert loaded.flags.writeable
    assert cache.size() == (4, sum(f.stat().st_size for f in (tmp_path / "c").rglob("*.npy")))


def test_store_and_load(folder, tmp_path):
    cache, path = PreparedCache(tmp_path / "c", settings()), folder / "1.png"
    cache.store(path, prepare_photograph(read_photograph(path), settings()))
    assert np.array_equal(PreparedCache(tmp_path / "c", settings()).load(path), cache.load(path))
    (name,) = (tmp_path / "c").rglob("*.npy")
    sha256 = cache.index.content_hash(path)
    assert name == tmp_path / "c" / settings().pixel_key() / sha256[:2] / f"{sha256}.npy"


def test_a_changed_source_is_never_served(folder, tmp_path):
    cache, target = PreparedCache(tmp_path / "c", settings()), folder / "2.png"
    cache.prepare(paths_of(folder), workers=0, progress=None)
    old, state = cache.load(target), target.stat()
    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    assert cache.load(target) is None
    assert PreparedCache(tmp_path / "c", settings()).load(target) is None
    Image.fromarray(draw_eye(150, 110, 50, seed=77)).save(target)
    cache.prepare(paths_of(folder), workers=0, progress=None)
    new = cache.load(target)
    assert np.array_equal(new, prepare_photograph(read_photograph(target), settings()))
    assert not np.array_equal(new, old)
    shutil.move(folder / "3.png", target)  # another file under the old name, an old modification time
    assert np.array_equal(cache.load(target), prepare_photograph(read_photograph(target), settings()))


def test_changed_settings_are_never_served(folder, tmp_path):
    PreparedCache(tmp_path / "c", settings()).prepare(paths_of(folder), workers=0, progress=None)
    for other in (settings(65), settings(clahe=True), settings(ben_graham=True), settings(crop="none")):
        assert PreparedCache(tmp_path / "c", other).load(folder / "0.png") is None
    same_pixels = Preprocessing(64, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0))
    assert PreparedCache(tmp_path / "c", same_pixels).load(folder / "0.png") is not None


def test_moved_and_copied_sources_are_served(folder, tmp_path):
    cache = PreparedCache(tmp_path / "c", settings())
    cache.prepare(paths_of(folder), workers=0, progress=None)
    shutil.copy(folder / "0.png", tmp_path / "copy.png")
    assert np.array_equal(cache.load(tmp_path / "copy.png"), cache.load(folder / "0.png"))


def test_damaged_prepared_files_are_prepared_anew(folder, tmp_path):
    cache = PreparedCache(tmp_path / "c", settings())
    cache.prepare(paths_of(folder), workers=0, progress=None)
    expected = cache.load(folder / "0.png")
    for damage in (b"", b"\x93NUMPY", b"text"):
        for file in (tmp_path / "c").rglob("*.npy"):
            file.write_bytes(damage)
        assert cache.load(folder / "0.png") is None
    cache.prepare(paths_of(folder), workers=0, progress=None)
    assert np.array_equal(cache.load(folder / "0.png"), expected)


def test_each_file_is_read_once_and_bad_ones_are_told(folder, tmp_path, monkeypatch):
    (folder / "bad.png").write_bytes(b"text")
    paths = [*paths_of(folder), str(folder / "none.png")]
    read, real = [], file_index.read_bytes
    monkeypatch.setattr(file_index, "read_bytes", lambda path: (read.append(str(path)), real(path))[1])
    records = PreparedCache(tmp_path / "c", settings()).prepare(paths, workers=0, progress=None)
    assert sorted(read) == sorted(paths)
    assert {p[-8:]: r.reason for p, r in records.items() if r.reason} == {
        "/bad.png": "not an image",
        "none.png": "no such file",
    }
    assert set(records) == set(paths)


def run_prepare(folder, cache, size=64, workers=0, prefix=()):
    script = folder.parent / "prepare.py"
    script.write_text(PREPARE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*prefix, sys.executable, str(script), str(folder), str(cache), str(size), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_two_jobs_prepare_the_same_photographs_at_once(folder, tmp_path):
    jobs = [run_prepare(folder, tmp_path / "c") for _ in range(2)]
    assert [job.communicate(timeout=60) for job in jobs] == [("4\n", "")] * 2
    cache = PreparedCache(tmp_path / "c", settings())
    for path in paths_of(folder):
        assert np.array_equal(cache.load(path), prepare_photograph(read_photograph(path), settings()))
    assert not list((tmp_path / "c").rglob(".*"))


def test_full_disk_is_told_and_nothing_is_half_written(folder, tmp_path):
    """On a real file system of 400 kB, mounted in a name space of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=400k none "{disk}"'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "sh", "-c", mount]).returncode:
        pytest.skip("no file system can be mounted here")
    check = 'out=$("$@" 2>&1); echo "code $?"; echo "$out"; find "$0" -type f -printf "%s %f\\n"'
    job = run_prepare(folder, disk / "c", 256, 2, ["unshare", "-rm", "sh", "-c", f"{mount}; {check}", str(disk)])
    text = job.communicate(timeout=60)[0].splitlines()
    assert text[0] == "code 1"
    (sentence,) = [line for line in text if line.startswith("error: ")]
    assert "disk is full" in sentence or "No space left on device" in sentence  # of a photograph or of the index
    assert "paths.cache=" in sentence
    files = [line.split() for line in text[text.index(sentence) + 1 :]]
    whole = 256 * 256 * 3 + 128 + 4
    assert {size for size, name in files if name.endswith(".npy")} <= {str(whole)}
    assert len(files) == len(text) - 2  # one sentence, no traceback


def test_leftovers_of_killed_jobs_are_removed(folder, tmp_path):
    cache = PreparedCache(tmp_path / "c", settings())
    old = cache.folder / "ab" / ".abcdef.123.npy"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"half")
    young = old.with_name(".abcdef.124.npy")
    young.write_bytes(b"half")
    os.utime(old, (1, 1))
    cache.prepare(paths_of(folder), workers=0, progress=None)
    assert not old.exists()
    assert young.exists()
