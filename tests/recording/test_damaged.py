"""Files that are not as they were written: a sentence and exit status 2 or 3, whatever was done to them."""

import itertools
import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kmemtrace
from kmemtrace.console import guarded
from kmemtrace.errors import CannotError, ExitStatus
from kmemtrace.recording.folder import crc, minutes, sealed
from kmemtrace.recording.needed import DEBIANS, remedy_for, require
from kmemtrace.recording.parts import side_of
from kmemtrace.recording.reader import snapshots
from kmemtrace.recording.replay import Replay
from kmemtrace.recording.writer import Writer
from tests.recording.source import machine

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    with Writer(folder, 1.0) as writer:
        writer.begin({"kernel": "6.18", "tier": "fentry"})
        for number, snapshot in enumerate(itertools.islice(machine(5), 6)):
            writer.add(snapshot)
            if number == 3:
                writer.finish()
        writer.finish()
    return folder


def shown(folder: Path) -> None:
    """All that a time line can ask for: each frame, the last one, and the findings."""
    replay = Replay(folder)
    frames = list(replay.frames())
    replay.finding(frames[-1].position, -1)
    replay.at_time(frames[-1].snapshot.time)


READERS: dict[str, Callable[[Path], object]] = {
    "load": kmemtrace.load,
    "snapshots": lambda folder: list(snapshots(folder)),
    "replay": shown,
    "diff": lambda folder: side_of(folder, "r", by_stack=True),
}


def refused(folder: Path, capsys: Capture, reader: str = "load") -> tuple[int, str]:
    """Exit status and sentence; it fails if the folder is read."""

    def read() -> int:
        READERS[reader](folder)
        return 0

    status = guarded(read)
    told = capsys.readouterr().err
    assert status in (ExitStatus.USAGE, ExitStatus.INCONCLUSIVE), (reader, told)
    assert re.fullmatch(r"kmemtrace: [^\n]+[.]\n", told), told
    assert "did not expect" not in told
    return status, told


# Of what `diff` has no use for it reads nothing.
UNREAD = {"diff": {"objects.parquet", "findings.parquet", "maps.parquet"}}


def spoilt(data: bytes, chance: random.Random) -> bytes:
    """One of the things that happen to files."""
    at, other = chance.randrange(len(data)), chance.randrange(1, 256)
    end = chance.randrange(at, len(data)) + 1
    return chance.choice(
        (
            data[:at] + bytes([data[at] ^ other]) + data[at + 1 :],
            data[:at],
            data[:at] + bytes(end - at) + data[end:],
            data + chance.randbytes(end - at),
            data[:at] + data[end:],
            data[:at] + chance.randbytes(end - at) + data[end:],
            chance.randbytes(len(data)),
        )
    )


@pytest.mark.parametrize("seed", range(4))
def test_any_bytes(seed: int, whole: Path, tmp_path: Path, capsys: Capture) -> None:
    chance = random.Random(seed)
    folder = tmp_path / "r"
    shutil.copytree(whole, folder)
    known = [*snapshots(whole)]
    files = [*folder.glob("**/meta.json"), *folder.glob("*/*.parquet")]
    told = set()
    for file in files:
        data = file.read_bytes()
        for _ in range(12):
            changed = spoilt(data, chance)
            if changed == data:
                continue
            file.write_bytes(changed)
            if file.name == "meta.json" and _means_the_same(data, changed):
                assert [*snapshots(folder)] == known
            else:
                for reader in READERS:
                    if file.name not in UNREAD.get(reader, ()):
                        told.add(refused(folder, capsys, reader)[0])
        file.write_bytes(data)
    assert [*snapshots(folder)] == known
    assert ExitStatus.INCONCLUSIVE in told


def _means_the_same(data: bytes, changed: bytes) -> bool:
    """Blanks in JSON."""
    try:
        return bool(json.loads(changed) == json.loads(data))
    except ValueError:
        return False


def _no_meta(folder: Path) -> None:
    (minutes(folder)[0].path / "meta.json").unlink()


def _no_table(folder: Path) -> None:
    (minutes(folder)[1].path / "sites.parquet").unlink()


def _empty_table(folder: Path) -> None:
    (minutes(folder)[1].path / "sites.parquet").write_bytes(b"")


def _file_for_minute(folder: Path) -> None:
    (folder / "00000009-20260301T120000Z").write_bytes(b"")


def _folder_for_table(folder: Path) -> None:
    (minutes(folder)[1].path / "sites.parquet").unlink()
    (minutes(folder)[1].path / "sites.parquet").mkdir()


def _newer(folder: Path) -> None:
    told = json.loads((folder / "meta.json").read_text())
    told.pop("crc32")
    (folder / "meta.json").write_bytes(sealed(told | {"schema_version": 2, "version": "9.1"}))


def _newer_minute(folder: Path) -> None:
    file = minutes(folder)[1].path / "meta.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"schema_version": 2, "version": "9.1", "crc32": "of another kind"}))


def _foreign(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": "of a camera"}')


def _no_object(folder: Path) -> None:
    (folder / "meta.json").write_text("[" * 100_000)


def _emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _files_of_others(folder: Path) -> None:
    _emptied(folder)
    pq.write_table(pa.table({"a": [1]}), folder / "cgroups.parquet")


def _no_minutes(folder: Path) -> None:
    for one in minutes(folder):
        shutil.rmtree(one.path)


def _a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (_no_meta, 3, "is damaged: it is missing. Without .*00000000-.* the rest can be read"),
        (_no_table, 3, "sites.parquet is damaged: it is missing"),
        (_empty_table, 3, "it has 0 bytes, where"),
        (_file_for_minute, 3, "is a file, and no folder"),
        (_folder_for_table, 3, "cannot be read"),
        (_newer, 2, r"was written by a newer kmemtrace \(9.1, schema 2\).*upgrade"),
        (_newer_minute, 2, r"was written by a newer kmemtrace \(9.1, schema 2\)"),
        (_foreign, 2, "is not of a recording"),
        (_no_object, 3, "it is no JSON"),
        (_emptied, 2, "is empty"),
        (_files_of_others, 2, "is no recording, for it has no meta.json"),
        (_no_minutes, 2, "has no minute in it yet"),
        (_a_file, 2, "is a file: name the folder"),
        (shutil.rmtree, 2, "There is no folder"),
    ],
)
def test_what_is_told(
    spoil: Callable[[Path], None], status: int, words: str, whole: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = tmp_path / "r"
    shutil.copytree(whole, folder)
    spoil(folder)
    for reader in READERS:
        found, told = refused(folder, capsys, reader)
        assert re.search(words, told), told
        assert found == status


def test_without_a_damaged_minute_the_rest_is_read(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(whole, folder)
    shutil.rmtree(minutes(folder)[0].path)
    assert [*snapshots(folder)] == [*snapshots(whole)][4:]
    assert [one.snapshot for one in Replay(folder).frames()] == [*snapshots(whole)][4:]
    assert side_of(folder, "r").seconds == 1.0


def test_a_column_that_an_earlier_version_did_not_write_is_null(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(whole, folder)
    for minute in minutes(folder):
        file, meta = minute.path / "cgroups.parquet", minute.path / "meta.json"
        pq.write_table(pq.read_table(file).drop_columns(["account_sock_bytes"]), file)
        told = json.loads(meta.read_text())
        told.pop("crc32")
        data = file.read_bytes()
        told["files"]["cgroups.parquet"] |= {"bytes": len(data), "crc32": crc(data)}
        meta.write_bytes(sealed(told))
    frame = kmemtrace.load(folder).cgroups
    assert frame["account_sock_bytes"].isna().all()
    assert frame["account_sock_bytes"].dtype == pd.Int64Dtype()
    assert [*snapshots(folder)][-1].cgroups[0].path == [*snapshots(whole)][-1].cgroups[0].path


def test_what_to_install_is_said() -> None:
    with pytest.raises(
        CannotError, match=r"need parrow, which is not installed: pip install 'kmemtrace\[report\]'"
    ):
        require("parrow")
    debians = remedy_for(DEBIANS / "recording" / "needed.py")
    assert debians == "install the Debian package kmemtrace-report of the same version"


@pytest.mark.parametrize("missing", ["pyarrow", "pandas"])
def test_a_command_and_an_interface_that_lack_a_package_say_so(missing: str, tmp_path: Path) -> None:
    """And all else goes without."""
    begin = f"import sys; sys.modules[{missing!r}] = None\n"
    load = f"{begin}import kmemtrace\nkmemtrace.load({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", load], check=False, capture_output=True, text=True)
    assert f"CannotError: Recordings need {missing}, which is not installed: pip install" in done.stderr
    arguments = ["record", "-o", str(tmp_path / "r"), "--duration", "1s"]
    command = f"{begin}from kmemtrace.commands import main\nsys.exit(main({arguments!r}))"
    if missing == "pyarrow":
        done = subprocess.run([sys.executable, "-c", command], check=False, capture_output=True, text=True)
        assert done.returncode == ExitStatus.CANNOT
        assert done.stderr.startswith("kmemtrace: Recordings need pyarrow, which is not installed")
        assert not (tmp_path / "r").exists()
    others = f"{begin}from kmemtrace.commands import main\nmain(['--version'])"
    done = subprocess.run([sys.executable, "-c", others], check=False, capture_output=True, text=True)
    assert done.stdout.startswith("kmemtrace ")


def test_nobody_imports_pandas_who_does_not_ask_for_it() -> None:
    look = "import sys, kmemtrace.commands; print({'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
