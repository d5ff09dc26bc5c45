"""The committed protobuf code is what tools/generate_wire.py makes of the .proto files, to the letter."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import generate_wire

SCRATCH = """\
syntax = "proto3";
package candor.v1;
message PingRequest { bytes id = 1; }
message PingResponse { bytes id = 1; }
service ScratchService { rpc Ping(PingRequest) returns (PingResponse); }
"""


def test_the_committed_code_is_what_the_generator_makes(tmp_path: Path) -> None:
    folder = generate_wire.SOURCE_ROOT / generate_wire.FOLDER
    made = generate_wire.generate(tmp_path)
    assert made, "no .proto files were found"
    fresh = generate_wire.generated_files(tmp_path / generate_wire.FOLDER)
    committed = generate_wire.generated_files(folder)
    remedy = "run `make wire` and commit what it writes"
    assert committed.keys() == fresh.keys(), remedy
    changed = [name for name, text in fresh.items() if committed[name] != text]
    assert not changed, remedy


def test_a_generated_file_whose_source_is_gone_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / generate_wire.FOLDER
    folder.mkdir(parents=True)
    (folder / "scratch.proto").write_text(SCRATCH)
    (folder / "gone_pb2.py").write_text("")
    (folder / "codec.py").write_text("kept = True")
    assert generate_wire.main(["--source", str(tmp_path)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "codec.py",
        "scratch.proto",
        "scratch_pb2.py",
        "scratch_pb2.pyi",
        "scratch_pb2_grpc.py",
        "scratch_pb2_grpc.pyi",
    ]
    assert "from candor_wire.v1 import scratch_pb2" in (folder / "scratch_pb2_grpc.py").read_text()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (SCRATCH.replace("candor.v1", "candor"), "does not say"),
        (SCRATCH.replace("bytes id", "byte id"), "protoc refused"),
    ],
    ids=["another-package", "unknown-type"],
)
def test_a_proto_file_with_a_fault_is_refused_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, fault: str
) -> None:
    folder = tmp_path / generate_wire.FOLDER
    folder.mkdir(parents=True)
    (folder / "scratch.proto").write_text(text)
    assert generate_wire.main(["--source", str(tmp_path)]) == 1
    assert fault in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["scratch.proto"]
