"""The ctypes binding to libsodium's ristretto255: the only module that loads native code.

Rules of this file:
- every curve and scalar operation of Candor happens inside libsodium; no secret scalar ever becomes a
  Python integer, because Python's arithmetic is not constant-time;
- octets in, octets out; every length is checked here, because C would read past a short buffer;
- nothing is loaded on import: `curve()` loads on first use, once for the process;
- only `group` imports this module. It is the core's one module exempt from "no I/O" (docs/style.md).

Element operations go through `ctypes.CDLL`, which releases the GIL, so that threads run them side by
side. Python cannot wipe memory: octets of a secret scalar stay in the process until the allocator reuses
them.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from candor_proto.errors import CurveLibraryMissing, InvalidElement, InvalidScalar

ELEMENT_BYTES = 32
SCALAR_BYTES = 32
HASH_BYTES = 64
IDENTITY = bytes(ELEMENT_BYTES)

MIN_VERSION = (1, 0, 18)  # the first release with ristretto255
# Newest first. Tried before ctypes.util.find_library, which starts ldconfig or a compiler to answer.
LIBRARY_NAMES = (
    "libsodium.so.26",
    "libsodium.so.23",
    "libsodium.dylib",
    "/opt/homebrew/lib/libsodium.dylib",
    "libsodium.dll",
    "libsodium-26.dll",
)
INSTALL_HINT = "Install libsodium: `apt-get install libsodium23`, or `pip install 'candor-exchange[sodium]'`."

_Octets32 = ctypes.c_char * 32


class _Unusable(Exception):
    """This source has no library that we accept; the message says why. Never leaves this module."""


class Curve:
    """The ristretto255 operations of one loaded libsodium.

    Elements are 32-octet encodings (RFC 9496 §4.3), scalars 32 octets little-endian. What libsodium
    refuses raises InvalidElement: an operand that does not decode, and a product that is the identity,
    which a non-zero scalar gives only for the identity (RFC 9497 §4.1, DeserializeElement). libsodium
    alone is *not* a full check of an operand: 1.0.18 ignores bit 255. Use `is_valid_point` at the door.
    """

    def __init__(self, library: ctypes.CDLL, origin: str) -> None:
        """Bind `library`; `origin` is its name for people. Raises _Unusable, does not self-test."""
        self.library = library
        self.origin = origin
        self.version = _version_of(library)

        # Scalar arithmetic takes 0.2 µs, a check 5: giving up the GIL costs more, and lets threads collide.
        keeping_gil = ctypes.PyDLL(origin, handle=library._handle)

        def bind(
            name: str, operands: int, *, returns: bool = True, quick: bool = False
        ) -> Callable[..., int]:
            function = getattr(keeping_gil if quick else library, name)
            function.argtypes = [_Octets32] + [ctypes.c_char_p] * operands
            function.restype = ctypes.c_int if returns else None
            return function  # type: ignore[no-any-return]  # ctypes has no static signatures

        scalar = "crypto_core_ristretto255_scalar"
        try:
            library.sodium_init.argtypes = []
            library.sodium_init.restype = ctypes.c_int
            ready = library.sodium_init() >= 0
            self._scalarmult = bind("crypto_scalarmult_ristretto255", 2)
            self._scalarmult_base = bind("crypto_scalarmult_ristretto255_base", 1)
            self._from_hash = bind("crypto_core_ristretto255_from_hash", 1)
            self._add = bind("crypto_core_ristretto255_add", 2)
            self._sub = bind("crypto_core_ristretto255_sub", 2)
            self._scalar_reduce = bind(f"{scalar}_reduce", 1, returns=False, quick=True)
            self._scalar_mul = bind(f"{scalar}_mul", 2, returns=False, quick=True)
            self._scalar_add = bind(f"{scalar}_add", 2, returns=False, quick=True)
            self._scalar_sub = bind(f"{scalar}_sub", 2, returns=False, quick=True)
            self._scalar_invert = bind(f"{scalar}_invert", 1)
            self._scalar_random = bind(f"{scalar}_random", 0, returns=False)
            is_valid_point = keeping_gil.crypto_core_ristretto255_is_valid_point
        except AttributeError as missing:
            raise _Unusable(f"{origin} has no ristretto255 ({missing})") from None
        if not ready:
            raise _Unusable(f"sodium_init failed in {origin}")
        is_valid_point.argtypes = [ctypes.c_char_p]
        is_valid_point.restype = ctypes.c_int
        self._is_valid_point: Callable[[bytes], int] = is_valid_point

    # --- elements ------------------------------------------------------------------------------------

    def is_valid_point(self, point: bytes) -> bool:
        """Whether `point` is the canonical encoding of an element; the identity counts as one.

        RFC 9496 §4.3.1 step 1 wants an integer below p, so bit 255 must be clear. libsodium 1.0.18 masks
        that bit off instead, and would accept a second encoding of every element.
        """
        if len(point) != ELEMENT_BYTES or point[31] & 0x80:
            return False
        return self._is_valid_point(point) == 1

    def scalarmult(self, scalar: bytes, point: bytes) -> bytes:
        """scalar * point. Raises InvalidElement for an operand or a product that is no proper element."""
        _check(scalar, SCALAR_BYTES, InvalidScalar)
        _check(point, ELEMENT_BYTES, InvalidElement)
        product = _Octets32()
        if self._scalarmult(product, scalar, point) != 0:
            raise _refused()
        return product.raw

    def scalarmult_base(self, scalar: bytes) -> bytes:
        """scalar * generator. Raises InvalidElement where the scalar is a multiple of the order."""
        _check(scalar, SCALAR_BYTES, InvalidScalar)
        product = _Octets32()
        if self._scalarmult_base(product, scalar) != 0:
            raise _refused()
        return product.raw

    def scalarmult_each(self, scalar: bytes, points: Sequence[bytes]) -> list[bytes]:
        """scalar * point for each of `points`, in one tight loop. Raises like `scalarmult`."""
        return self.scalarmult_pairs([scalar] * len(points), points)

    def scalarmult_pairs(self, scalars: Sequence[bytes], points: Sequence[bytes]) -> list[bytes]:
        """scalars[i] * points[i] for each, in one tight loop. Raises like `scalarmult`."""
        products = []
        product = _Octets32()
        multiply = self._scalarmult
        for scalar, point in zip(scalars, points, strict=True):
            if len(scalar) != SCALAR_BYTES:
                _check(scalar, SCALAR_BYTES, InvalidScalar)
            if len(point) != ELEMENT_BYTES or multiply(product, scalar, point) != 0:
                raise _refused()
            products.append(product.raw)
        return products

    def weighted_sum(self, scalars: Sequence[bytes], points: Sequence[bytes]) -> bytes:
        """The sum of scalars[i] * points[i], at least one; n multiplications and n - 1 additions."""
        total = _Octets32()
        product = total  # the first product starts the sum, all others are added to it
        multiply, add = self._scalarmult, self._add
        for scalar, point in zip(scalars, points, strict=True):
            if len(scalar) != SCALAR_BYTES or len(point) != ELEMENT_BYTES:
                raise _refused()
            if multiply(product, scalar, point) != 0:
                raise _refused()
            if product is total:
                product = _Octets32()
            elif add(total, total, product) != 0:
                raise _refused()
        return total.raw

    def from_hash(self, uniform: bytes) -> bytes:
        """The element of 64 uniform octets (RFC 9496 §4.3.4)."""
        _check(uniform, HASH_BYTES, InvalidElement)
        point = _Octets32()
        self._from_hash(point, uniform)
        return point.raw

    def from_hash_each(self, uniform: Sequence[bytes]) -> list[bytes]:
        """`from_hash` for each of `uniform`, in one tight loop."""
        points = []
        point = _Octets32()
        from_hash = self._from_hash
        for octets in uniform:
            if len(octets) != HASH_BYTES:
                raise _refused()
            from_hash(point, octets)
            points.append(point.raw)
        return points

    def add(self, left: bytes, right: bytes) -> bytes:
        """left + right; may be the identity. Raises InvalidElement for an operand that does not decode."""
        return self._combine(self._add, left, right)

    def sub(self, left: bytes, right: bytes) -> bytes:
        """left - right; may be the identity. Raises InvalidElement for an operand that does not decode."""
        return self._combine(self._sub, left, right)

    def _combine(self, operation: Callable[..., int], left: bytes, right: bytes) -> bytes:
        _check(left, ELEMENT_BYTES, InvalidElement)
        _check(right, ELEMENT_BYTES, InvalidElement)
        result = _Octets32()
        if operation(result, left, right) != 0:
            raise _refused()
        return result.raw

    # --- scalars (modulo the group order) ------------------------------------------------------------

    def scalar_reduce(self, wide: bytes) -> bytes:
        """64 octets little-endian, reduced modulo the group order."""
        _check(wide, HASH_BYTES, InvalidScalar)
        result = _Octets32()
        self._scalar_reduce(result, wide)
        return result.raw

    def scalar_mul(self, left: bytes, right: bytes) -> bytes:
        """left * right modulo the group order."""
        return self._scalar(self._scalar_mul, left, right)

    def scalar_add(self, left: bytes, right: bytes) -> bytes:
        """left + right modulo the group order."""
        return self._scalar(self._scalar_add, left, right)

    def scalar_sub(self, left: bytes, right: bytes) -> bytes:
        """left - right modulo the group order."""
        return self._scalar(self._scalar_sub, left, right)

    def _scalar(self, operation: Callable[..., int], left: bytes, right: bytes) -> bytes:
        _check(left, SCALAR_BYTES, InvalidScalar)
        _check(right, SCALAR_BYTES, InvalidScalar)
        result = _Octets32()
        operation(result, left, right)
        return result.raw

    def scalar_invert(self, scalar: bytes) -> bytes:
        """1 / scalar modulo the group order. Raises InvalidScalar for zero."""
        _check(scalar, SCALAR_BYTES, InvalidScalar)
        result = _Octets32()
        if self._scalar_invert(result, scalar) != 0:
            raise InvalidScalar("Zero has no inverse.")
        return result.raw

    def scalar_random(self) -> bytes:
        """A uniform non-zero scalar from libsodium's generator, which reads the operating system's."""
        result = _Octets32()
        self._scalar_random(result)
        return result.raw


def _refused() -> InvalidElement:
    return InvalidElement("Not a canonical ristretto255 element, or the identity.")


def _check(octets: bytes, expected: int, error: type[InvalidElement | InvalidScalar]) -> None:
    if len(octets) != expected:
        raise error(f"Expected {expected} octets, got {len(octets)}.")


# --- loading -----------------------------------------------------------------------------------------


@functools.cache
def curve() -> Curve:
    """The curve of this process, loaded and self-tested on first use.

    Raises CurveLibraryMissing, whose message says what to install. Safe from any thread: two threads
    that come first together may both load, which libsodium allows and which yields the same library.
    """
    return load_first((_system_libraries, _wheel_libraries))


def load_first(sources: Iterable[Callable[[], Iterator[tuple[ctypes.CDLL, str]]]]) -> Curve:
    """The first library of `sources` that binds, is recent enough and passes the self-test.

    Each source yields (library, origin) pairs. Raises CurveLibraryMissing with every reason found.
    """
    reasons = []
    for source in sources:
        candidates = source()
        while True:
            try:
                library, origin = next(candidates)
                loaded = Curve(library, origin)
                self_test(loaded)
                return loaded
            except StopIteration:
                break
            except _Unusable as reason:
                reasons.append(str(reason))
    found = "; ".join(reasons) or "none found"
    raise CurveLibraryMissing(f"No usable libsodium 1.0.18 or later ({found}).", remedy=INSTALL_HINT)


def _system_libraries() -> Iterator[tuple[ctypes.CDLL, str]]:
    for name in LIBRARY_NAMES:
        try:
            yield ctypes.CDLL(name), name
        except OSError:
            continue
    from ctypes.util import find_library  # only where the usual names failed: it starts programs

    found = find_library("sodium")
    if found is not None and found not in LIBRARY_NAMES:
        try:
            yield ctypes.CDLL(found), found
        except OSError as error:
            raise _Unusable(f"{found} does not load: {error}") from None


def _wheel_libraries() -> Iterator[tuple[ctypes.CDLL, str]]:
    """The libsodium inside the wheel `rbcl`, without importing the wheel's own Python interface."""
    from importlib.machinery import PathFinder
    from importlib.util import find_spec

    package = find_spec("rbcl")
    if package is None or package.submodule_search_locations is None:
        return
    inner = PathFinder.find_spec("_sodium", list(package.submodule_search_locations))
    if inner is None or inner.origin is None:
        raise _Unusable("the wheel rbcl is installed but holds no libsodium")
    try:
        if inner.origin.endswith((".py", ".pyc")):
            yield _unpack_wheel(inner.origin), "rbcl (unpacked)"
        else:  # rbcl 0.x: an extension module that exports libsodium's own functions
            yield ctypes.CDLL(inner.origin), "rbcl"
    except OSError as error:
        raise _Unusable(
            f"the wheel rbcl unpacks its libsodium into the temporary folder, which must allow execution; "
            f"set TMPDIR to a private folder not mounted noexec ({error})"
        ) from None


def _unpack_wheel(origin: str) -> ctypes.CDLL:
    """Run rbcl 1.x's `_sodium.py`: it writes libsodium (2.8 MB) to a temporary file and loads it.

    It leaves the file behind, at every start; we unlink it, whether or not it loaded. The mapping
    outlives the name, except on Windows, where the file of a loaded library cannot be removed.
    """
    import contextlib
    import os
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("_candor_rbcl_sodium", origin)
    if spec is None or spec.loader is None:
        raise _Unusable("the wheel rbcl cannot be read")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        library = module.__dict__.get("_sodium")
    finally:
        with contextlib.suppress(OSError):
            os.unlink(module.__dict__.get("lib_path", ""))
    if not isinstance(library, ctypes.CDLL):
        raise _Unusable("the wheel rbcl holds no libsodium in the form we know")
    return library


def _version_of(library: ctypes.CDLL) -> str:
    """The library's version, "unstated" where it does not export it; raises _Unusable below 1.0.18."""
    try:
        version_string = library.sodium_version_string
    except AttributeError:
        # rbcl 0.x keeps this one symbol private. Having ristretto255 at all means 1.0.18 or later.
        return "unstated"
    version_string.argtypes = []
    version_string.restype = ctypes.c_char_p
    text = bytes(version_string()).decode("ascii", "replace")
    numbers = tuple(int(part) for part in text.split(".")[:3] if part.isdecimal())
    if numbers < MIN_VERSION:
        raise _Unusable(f"libsodium {text} is older than 1.0.18")
    return text


# RFC 9496 A.1: the generator's double. A.3: the first hash-to-group example.
_TWO_G = bytes.fromhex("6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919")
_UNIFORM = bytes.fromhex(
    "5d1be09e3d0c82fc538112490e35701979d99e06ca3e2b5b54bffe8b4dc772c1"
    "4d98b696a1bbfb5ca32c436cc61c16563790306c79eaca7705668b47dffe5bb6"
)
_FROM_UNIFORM = bytes.fromhex("3066f82a1a747d45120d1740f14358531a8f04bbffe6a819f86dfe50f44a0a46")


def self_test(loaded: Curve) -> None:
    """Known answers of RFC 9496, and that the identity is refused; raises _Unusable on any difference.

    A library of the right name that computes something else would publish an index nobody can match;
    one that multiplies the identity would return it, and with it an output that is the same for every key.
    """
    one, two = (bytes([n]) + bytes(31) for n in (1, 2))
    try:
        generator = loaded.scalarmult_base(one)
        right = (
            loaded.scalarmult_base(two) == _TWO_G
            and loaded.scalarmult(two, generator) == _TWO_G
            and loaded.add(generator, generator) == _TWO_G
            and loaded.sub(_TWO_G, generator) == generator
            and loaded.from_hash(_UNIFORM) == _FROM_UNIFORM
            and loaded.scalar_mul(two, loaded.scalar_invert(two)) == one
        )
    except (InvalidElement, InvalidScalar):
        right = False
    if not right:
        raise _Unusable(f"{loaded.origin} fails the known-answer test of RFC 9496")
    try:
        loaded.scalarmult(two, IDENTITY)
    except InvalidElement:
        return
    raise _Unusable(f"{loaded.origin} multiplies the identity, which must be refused")
