import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawn_eye import draw_eye
from PIL import Image

from retinai.data.curation import file_index
from retinai.data.curation.file_index import INDEX_NAME, FileIndex, examine
from retinai.data.parallel import choose_workers, run_parallel
from retinai.errors import UserError

SCAN = """
import sys
from pathlib import Path
from retinai.data.curation.file_index import FileIndex
if __name__ == "__main__":
    paths = sorted(map(str, Path(sys.argv[1]).glob("*.png")))
    print(len(FileIndex(sys.argv[2]).scan(paths, workers=int(sys.argv[3]), progress=None)))
"""


def settle():
    """Wait until new files count as settled: an entry read within a tick of a change is not believed."""
    time.sleep(0.06)


@pytest.fixture
def folder(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for n in range(6):
        Image.fromarray(draw_eye(90 + n, 70, 30, seed=n)).save(photographs / f"{n}.png")
    settle()
    return photographs


def paths_of(folder):
    return sorted(map(str, folder.glob("*.png")))


def count_reading(monkeypatch):
    """Count the files that are read, the real reading still happening."""
    read = []
    real = file_index.read_bytes
    monkeypatch.setattr(file_index, "read_bytes", lambda path: (read.append(str(path)), real(path))[1])
    return read


def test_record_tells_hash_size_and_reason(folder, tmp_path):
    (folder / "bad.png").write_bytes(b"text")
    paths = [*paths_of(folder), str(folder / "none.png")]
    records = FileIndex(tmp_path / "c").scan(paths, progress=None)
    assert list(records) == paths
    good = records[str(folder / "2.png")]
    assert good.sha256 == hashlib.sha256((folder / "2.png").read_bytes()).hexdigest()
    assert (good.width, good.height, len(good.phash), good.reason) == (92, 70, 64, "")
    assert records[str(folder / "bad.png")].reason == "not an image"
    assert records[str(folder / "none.png")].reason == "no such file"


def test_second_scan_reads_nothing_and_a_change_is_seen(folder, tmp_path, monkeypatch):
    paths = paths_of(folder)
    first = FileIndex(tmp_path / "c").scan(paths, progress=None)
    read = count_reading(monkeypatch)
    assert FileIndex(tmp_path / "c").scan(paths, progress=None) == first
    assert read == []
    target = folder / "3.png"
    state, data = target.stat(), bytearray(target.read_bytes())
    data[-1] ^= 1  # the checksum of the end chunk: as long as before, and still a photograph for Pillow
    target.write_bytes(data)
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (target.stat().st_size, target.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)
    second = FileIndex(tmp_path / "c").scan(paths, progress=None)
    assert read == [str(target)]
    assert second[str(target)].sha256 == hashlib.sha256(data).hexdigest() != first[str(target)].sha256


def test_entry_read_within_a_tick_of_a_change_is_not_believed(folder):
    fresh = folder / "fresh.png"
    fresh.write_bytes((folder / "1.png").read_bytes())
    entry = examine(str(fresh))
    assert not entry.is_current(entry.signature)
    settle()
    again = examine(str(fresh))
    assert again.is_current(again.signature)


def test_a_file_that_is_mended_is_read_again(folder, tmp_path):
    index, path = FileIndex(tmp_path / "c"), folder / "new.png"
    assert index.scan([str(path)], progress=None)[str(path)].reason == "no such file"
    path.write_bytes(b"")
    assert index.scan([str(path)], progress=None)[str(path)].reason == "empty file"
    path.write_bytes((folder / "1.png").read_bytes())
    assert index.scan([str(path)], progress=None)[str(path)].reason == ""


def test_torn_lines_cost_no_other(folder, tmp_path, monkeypatch):
    paths, cache = paths_of(folder), tmp_path / "c"
    first = FileIndex(cache).scan(paths[:3], progress=None)
    lines = (cache / INDEX_NAME).read_bytes()
    (cache / INDEX_NAME).write_bytes(lines[:-40])  # as after kill -9 in the middle of writing the third
    FileIndex(cache).scan(paths[3:], progress=None)
    read = count_reading(monkeypatch)
    records = FileIndex(cache).scan(paths, progress=None)
    assert read == [paths[2]]
    assert {p: records[p] for p in paths[:3]} == first
    with (cache / INDEX_NAME).open("ab") as handle:
        handle.write(b'\0\0\0\n[1]\n{"v": 1}\n\xff\n')
    assert FileIndex(cache).scan(paths, progress=None) == records


def test_parallel_equals_serial(folder, tmp_path):
    paths = paths_of(folder)
    serial = FileIndex(tmp_path / "one").scan(paths, workers=0, progress=None)
    assert FileIndex(tmp_path / "two").scan(paths, workers=2, progress=None) == serial


def start_scan(folder, cache, workers):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    script = cache.parent / "scan.py"
    script.write_text(SCAN)
    command = [sys.executable, str(script), str(folder), str(cache), str(workers)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_killed_scan_goes_on_where_it_was_and_leaves_no_workers(tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    photographs, cache = tmp_path / "photographs", tmp_path / "c"
    photographs.mkdir()
    Image.fromarray(draw_eye(1200, 900, 400)).save(photographs / "00.png", compress_level=1)
    for n in range(1, 60):
        (photographs / f"{n:02d}.png").write_bytes((photographs / "00.png").read_bytes())
    settle()
    job = start_scan(photographs, cache, 2)
    deadline = time.monotonic() + 60
    while not (cache / INDEX_NAME).exists() or (cache / INDEX_NAME).read_bytes().count(b"sha256") < 5:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    workers = psutil.Process(job.pid).children(recursive=True)
    job.send_signal(signal.SIGKILL)
    job.wait()
    job.stdout.close()
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive
    paths = paths_of(photographs)
    done = sum(FileIndex(cache).lookup(path) is not None for path in paths)
    assert 5 <= done < 60
    read = count_reading(monkeypatch)
    records = FileIndex(cache).scan(paths, workers=0, progress=None)
    assert len(read) == 60 - done
    assert not any(record.reason for record in records.values())


def test_two_jobs_at_once(folder, tmp_path):
    cache = tmp_path / "c"
    jobs = [start_scan(folder, cache, 0) for _ in range(2)]
    assert [job.communicate(timeout=60)[0].strip() for job in jobs] == ["6", "6"]
    lines = [line for line in (cache / INDEX_NAME).read_text().splitlines() if line]
    assert all(json.loads(line)["reason"] == "" for line in lines)
    assert {Path(json.loads(line)["path"]).name for line in lines} == {f"{n}.png" for n in range(6)}


def test_an_index_that_cannot_be_written_is_told(folder, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"could not be written.*paths\.cache="):
        FileIndex(tmp_path / "file" / "c").scan(paths_of(folder), progress=None)


def die(path):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_told():
    with pytest.raises(UserError, match="lack of memory"):
        list(run_parallel(die, ["x"], 1, None))


def test_workers_are_bounded():
    assert choose_workers(None, 1000) == 0
    assert 0 <= choose_workers("auto", 10**12) <= min(16, os.cpu_count())
    with pytest.raises(UserError, match="workers=many"):
        choose_workers("many", 0)
