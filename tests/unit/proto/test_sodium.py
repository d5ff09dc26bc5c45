"""The libsodium binding: which library is taken, which is refused, and what C must never be handed."""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.machinery
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from candor_proto import sodium
from candor_proto.errors import CurveLibraryMissing, Fault, InvalidElement, InvalidScalar
from candor_proto.sodium import IDENTITY, Curve, curve

VECTORS = Path(__file__).parents[2] / "vectors"
ONE, TWO = (bytes([n]) + bytes(31) for n in (1, 2))
ORDER = 2**252 + 27742317777372353535851937790883648493

# RFC 9496 A.1: multiples 1 to 3 of the generator.
MULTIPLES = [
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
]


class Wrapped:
    """A loaded library with some of its symbols replaced or taken away."""

    def __init__(self, library: ctypes.CDLL, **changes: object) -> None:
        self._library = library
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        if name in self._changes:
            change = self._changes[name]
            if change is None:
                raise AttributeError(name)
            return change
        return getattr(self._library, name)


def system_library() -> ctypes.CDLL:
    for library, _ in sodium._system_libraries():
        return library
    pytest.skip("no libsodium in the system")


def source_of(library: object) -> Callable[[], Iterator[tuple[ctypes.CDLL, str]]]:
    return lambda: iter([(library, "the library under test")])  # type: ignore[list-item]  # a stand-in


def c_function(answer: Callable[..., object], result: type[Any], operands: int) -> object:
    """A stand-in for a C function with an `argtypes` that the binding may set."""
    prototype = ctypes.CFUNCTYPE(result, *([ctypes.c_void_p] * operands))
    return prototype(answer)


def test_base_multiples_of_rfc9496_a1() -> None:
    for number, encoding in enumerate(MULTIPLES, 1):
        assert curve().scalarmult_base(bytes([number]) + bytes(31)).hex() == encoding


def test_addition_and_subtraction_undo_each_other() -> None:
    first, second, third = (bytes.fromhex(text) for text in MULTIPLES)
    assert curve().add(first, second) == third
    assert curve().sub(third, second) == first
    assert curve().sub(first, first) == IDENTITY


def test_scalar_arithmetic_is_modulo_the_order() -> None:
    last = (ORDER - 1).to_bytes(32, "little")
    assert curve().scalar_add(last, TWO) == ONE
    assert curve().scalar_sub(ONE, TWO) == last
    assert curve().scalar_mul(last, last) == ONE
    assert curve().scalar_mul(curve().scalar_invert(TWO), TWO) == ONE
    assert curve().scalar_reduce(ORDER.to_bytes(64, "little")) == bytes(32)


def test_random_scalars_are_below_the_order_and_differ() -> None:
    drawn = {curve().scalar_random() for _ in range(50)}
    assert len(drawn) == 50
    assert all(0 < int.from_bytes(octets, "little") < ORDER for octets in drawn)


def test_scalarmult_refuses_the_identity_and_a_zero_scalar() -> None:
    generator = bytes.fromhex(MULTIPLES[0])
    for scalar, point in [(TWO, IDENTITY), (bytes(32), generator), (ORDER.to_bytes(32, "little"), generator)]:
        with pytest.raises(InvalidElement):
            curve().scalarmult(scalar, point)
    with pytest.raises(InvalidElement):
        curve().scalarmult_base(bytes(32))
    with pytest.raises(InvalidElement):
        curve().scalarmult_each(TWO, [generator, IDENTITY])
    with pytest.raises(InvalidElement):
        curve().scalarmult_pairs([TWO, bytes(32)], [generator, generator])
    with pytest.raises(InvalidElement):
        curve().weighted_sum([TWO, bytes(32)], [generator, generator])


def test_zero_has_no_inverse() -> None:
    with pytest.raises(InvalidScalar):
        curve().scalar_invert(bytes(32))


def test_is_valid_point_refuses_bit_255_that_libsodium_ignores() -> None:
    """libsodium 1.0.18 masks the bit off, so that each element would have two encodings."""
    generator = bytes.fromhex(MULTIPLES[0])
    assert curve().is_valid_point(generator)
    assert not curve().is_valid_point(generator[:31] + bytes([generator[31] | 0x80]))


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_no_operand_of_a_wrong_length_reaches_c(length: int) -> None:
    """C would read past the end of a short buffer."""
    wrong, right = bytes([1]) * length, bytes.fromhex(MULTIPLES[0])
    library = curve()
    calls: list[tuple[Callable[[], object], type[Exception]]] = [
        (lambda: library.scalarmult(wrong, right), InvalidScalar),
        (lambda: library.scalarmult(ONE, wrong), InvalidElement),
        (lambda: library.scalarmult_base(wrong), InvalidScalar),
        (lambda: library.scalarmult_each(wrong, [right]), InvalidScalar),
        (lambda: library.scalarmult_each(ONE, [right, wrong]), InvalidElement),
        (lambda: library.scalarmult_pairs([ONE, wrong], [right, right]), InvalidScalar),
        (lambda: library.scalarmult_pairs([ONE, ONE], [right, wrong]), InvalidElement),
        (lambda: library.weighted_sum([ONE, wrong], [right, right]), InvalidElement),
        (lambda: library.weighted_sum([ONE, ONE], [right, wrong]), InvalidElement),
        (lambda: library.add(wrong, right), InvalidElement),
        (lambda: library.sub(right, wrong), InvalidElement),
        (lambda: library.scalar_mul(wrong, ONE), InvalidScalar),
        (lambda: library.scalar_add(ONE, wrong), InvalidScalar),
        (lambda: library.scalar_sub(wrong, ONE), InvalidScalar),
        (lambda: library.scalar_invert(wrong), InvalidScalar),
    ]
    for call, error in calls:
        with pytest.raises(error):
            call()
    assert not library.is_valid_point(wrong)
    if length != 64:
        with pytest.raises(InvalidElement):
            library.from_hash(wrong)
        with pytest.raises(InvalidElement):
            library.from_hash_each([bytes(64), wrong])
        with pytest.raises(InvalidScalar):
            library.scalar_reduce(wrong)


def test_weighted_sum_equals_its_parts() -> None:
    points = [bytes.fromhex(text) for text in MULTIPLES]
    scalars = [curve().scalar_random() for _ in points]
    parts = [curve().scalarmult(*pair) for pair in zip(scalars, points, strict=True)]
    assert curve().weighted_sum(scalars, points) == curve().add(curve().add(parts[0], parts[1]), parts[2])
    assert curve().weighted_sum(scalars[:1], points[:1]) == parts[0]


# --- which library is taken ----------------------------------------------------------------------------


def test_the_library_is_loaded_once_and_named() -> None:
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda _: curve(), range(8)))
    assert all(one is curve() for one in loaded)
    assert curve().origin
    assert curve().version


def test_nothing_is_loaded_on_import() -> None:
    script = "import candor_proto.oprf, candor_proto.sodium as s; print(s.curve.cache_info().currsize)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0"


def test_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sodium, "LIBRARY_NAMES", ("libsodium-of-nowhere.so",))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(CurveLibraryMissing) as refusal:
        sodium.load_first((sodium._system_libraries, sodium._wheel_libraries))
    assert "apt-get install libsodium23" in str(refusal.value)
    assert "candor-exchange[sodium]" in str(refusal.value)
    assert refusal.value.fault is Fault.OPERATOR


def test_find_library_is_asked_where_the_usual_names_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    found = next(name for _, name in sodium._system_libraries())
    monkeypatch.setattr(sodium, "LIBRARY_NAMES", ())
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: found)
    assert sodium.load_first([sodium._system_libraries]).origin == found


def test_library_without_ristretto255_is_refused() -> None:
    library = Wrapped(system_library(), crypto_core_ristretto255_from_hash=None)
    with pytest.raises(CurveLibraryMissing, match="has no ristretto255"):
        sodium.load_first([source_of(library)])


@pytest.mark.parametrize("version", ["1.0.17", "1.0.9", "0.9.99"])
def test_library_older_than_1_0_18_is_refused(version: str) -> None:
    stated = ctypes.create_string_buffer(version.encode())
    answer = c_function(lambda: ctypes.addressof(stated), ctypes.c_void_p, 0)
    library = Wrapped(system_library(), sodium_version_string=answer)
    with pytest.raises(CurveLibraryMissing, match=r"older than 1\.0\.18"):
        sodium.load_first([source_of(library)])


def test_library_that_computes_something_else_is_refused() -> None:
    real = system_library()
    wrong = c_function(
        lambda out, scalar: real.crypto_scalarmult_ristretto255_base(ctypes.c_void_p(out), TWO),
        ctypes.c_int,
        2,
    )
    library = Wrapped(real, crypto_scalarmult_ristretto255_base=wrong)
    with pytest.raises(CurveLibraryMissing, match="known-answer test"):
        sodium.load_first([source_of(library)])


def test_library_that_multiplies_the_identity_is_refused() -> None:
    real = ctypes.CDLL(next(name for _, name in sodium._system_libraries()))

    def lenient(out: int, scalar: int, point: int) -> int:
        real.crypto_scalarmult_ristretto255(*(ctypes.c_void_p(pointer) for pointer in (out, scalar, point)))
        return 0

    library = Wrapped(real, crypto_scalarmult_ristretto255=c_function(lenient, ctypes.c_int, 3))
    with pytest.raises(CurveLibraryMissing, match="multiplies the identity"):
        sodium.load_first([source_of(library)])


def test_the_next_library_is_tried_after_an_unusable_one() -> None:
    unusable = Wrapped(system_library(), crypto_core_ristretto255_add=None)
    assert isinstance(sodium.load_first([source_of(unusable), sodium._system_libraries]), Curve)


# --- the wheel -------------------------------------------------------------------------------------------


def test_the_wheel_rbcl_computes_the_same() -> None:
    if importlib.util.find_spec("rbcl") is None:
        pytest.skip("the optional wheel rbcl is not installed")
    wheel = sodium.load_first([sodium._wheel_libraries])
    point = wheel.from_hash(bytes(range(64)))
    assert wheel.scalarmult(TWO, point) == curve().scalarmult(TWO, curve().from_hash(bytes(range(64))))


RBCL_1 = """
import tempfile
from ctypes import cdll
with open({library!r}, "rb") as packed:
    octets = packed.read()
lib_path = tempfile.NamedTemporaryFile(suffix=".so", delete=False).name
with open(lib_path, "wb") as unpacked:
    unpacked.write(octets)
{fail}
_sodium = cdll.LoadLibrary(lib_path)
"""


def fake_rbcl(folder: Path, monkeypatch: pytest.MonkeyPatch, *, fail: str = "") -> Path:
    """A package laid out like rbcl 1.x, which unpacks to a temporary file; returns the temporary folder."""
    package, temporary = folder / "rbcl", folder / "tmp"
    package.mkdir()
    temporary.mkdir()
    (package / "__init__.py").write_text("raise ImportError('rbcl itself is not needed')")
    (package / "_sodium.py").write_text(RBCL_1.format(library=path_of_system_library(), fail=fail))
    spec = importlib.machinery.ModuleSpec("rbcl", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    return temporary


def path_of_system_library() -> str:
    system_library()
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("needs /proc to find the file of the loaded library")
    return next(line.split()[-1] for line in maps.read_text().splitlines() if "libsodium" in line)


def test_the_file_that_rbcl_1_unpacks_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = fake_rbcl(tmp_path, monkeypatch)
    loaded = sodium.load_first([sodium._wheel_libraries])
    assert loaded.scalarmult_base(ONE).hex() == MULTIPLES[0]
    assert list(temporary.iterdir()) == []


def test_noexec_temporary_folder_is_named_and_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail = "raise OSError(lib_path + ': failed to map segment from shared object')"
    temporary = fake_rbcl(tmp_path, monkeypatch, fail=fail)
    with pytest.raises(CurveLibraryMissing, match=r"TMPDIR.*noexec"):
        sodium.load_first([sodium._wheel_libraries])
    assert list(temporary.iterdir()) == []


def test_wheel_without_a_library_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_rbcl(tmp_path, monkeypatch)
    (tmp_path / "rbcl" / "_sodium.py").write_text("_sodium = None")
    with pytest.raises(CurveLibraryMissing, match="in the form we know"):
        sodium.load_first([sodium._wheel_libraries])
    (tmp_path / "rbcl" / "_sodium.py").unlink()
    with pytest.raises(CurveLibraryMissing, match="holds no libsodium"):
        sodium.load_first([sodium._wheel_libraries])


def test_invalid_encodings_of_rfc9496_are_no_valid_points() -> None:
    elements = json.loads((VECTORS / "rfc9497_negative.json").read_text())["elements"]
    invalid = [item for item in elements if item["name"] != "identity"]
    assert not any(curve().is_valid_point(bytes.fromhex(item["encoding"])) for item in invalid)
