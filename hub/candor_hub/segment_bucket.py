"""Segments in a bucket of S3-compatible storage: `segments_url = "s3://bucket/prefix"` (the extra `s3`).

Credentials, region and endpoint come from the environment, as every tool for S3 has them (AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL, AWS_REGION), or from the machine's role; never from the URL. An
endpoint of http:// is dialled only if AWS_ALLOW_HTTP says so.

An object is put in one request, so it is whole or absent; names are given once, so nothing is overwritten.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from candor_hub.segment_files import new_name
from candor_proto.errors import ConfigInvalid, StoreUnusable, UnknownObject
from candor_proto.ids import Digest

if TYPE_CHECKING:
    from obstore.store import ObjectStore

REQUEST_SECONDS = 60
RETRY_SECONDS = 20
CONNECT = timedelta(seconds=5)
# What S3 calls a fault, in its answer.
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_NO_BUCKET = "NoSuchBucket"
_REMEDIES = {
    _NO_BUCKET: "Make the bucket that segments_url names; Candor makes none.",
    "SignatureDoesNotMatch": "Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION.",
    "InvalidAccessKeyId": "Check AWS_ACCESS_KEY_ID.",
    "AccessDenied": "Let these credentials put, get, list and delete objects of the bucket.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "BadScheme": "Write AWS_ENDPOINT_URL with https://, or allow http:// with AWS_ALLOW_HTTP=true.",
}


class SegmentBucket:
    """Objects of one bucket, below one prefix."""

    def __init__(self, bucket: ObjectStore, now: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._now = now

    @classmethod
    def open(cls, url: str, now: Callable[[], datetime]) -> SegmentBucket:
        """The bucket of `url`; raises ConfigInvalid."""
        try:
            from obstore.exceptions import BaseError
            from obstore.store import S3Store
        except ImportError:
            raise ConfigInvalid(
                "segments_url needs the extra s3.", remedy="Install candor-exchange[s3]."
            ) from None
        try:
            bucket = S3Store.from_url(
                url,
                client_options={
                    "timeout": timedelta(seconds=REQUEST_SECONDS),
                    "connect_timeout": CONNECT,
                    "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() in ("true", "1"),
                },
                retry_config={"max_retries": 5, "retry_timeout": timedelta(seconds=RETRY_SECONDS)},
            )
        except (BaseError, ValueError) as error:
            raise ConfigInvalid(
                f"segments_url cannot be used ({type(error).__name__}).",
                remedy="Write s3://bucket/prefix; AWS_REGION and AWS_ENDPOINT_URL say where that is.",
            ) from None
        return cls(bucket, now)

    def put(self, address: Digest, octets: bytes) -> str:
        from obstore.exceptions import BaseError

        name = new_name(address, self._now())
        try:
            # In parts, an upload that was cut off would stay, invisible to `names`, and be paid for.
            self._bucket.put(name, octets, use_multipart=False)
        except (BaseError, OSError) as error:
            raise _unusable(error) from None
        return name

    def read(self, name: str, piece_octets: int) -> Iterator[bytes]:
        from obstore.exceptions import BaseError

        try:
            found = self._bucket.get(name)
            size, sent = found.meta["size"], 0
            for piece in found.stream(min_chunk_size=piece_octets):
                octets = bytes(piece)
                sent += len(octets)
                for at in range(0, len(octets), piece_octets):
                    yield octets[at : at + piece_octets]
        except FileNotFoundError as error:
            if _code(error) == _NO_BUCKET:
                raise _unusable(error) from None
            raise UnknownObject("There is no such segment.", remedy="Fetch the directory again.") from None
        except (BaseError, OSError) as error:
            raise _unusable(error) from None
        if sent != size:
            raise _unusable(EOFError())

    def remove(self, name: str) -> None:
        from obstore.exceptions import BaseError

        try:
            self._bucket.delete(name)
        except FileNotFoundError as error:
            if _code(error) == _NO_BUCKET:
                raise _unusable(error) from None
        except (BaseError, OSError) as error:
            raise _unusable(error) from None

    def names(self) -> Iterator[str]:
        from obstore.exceptions import BaseError

        try:
            for some in self._bucket.list():
                for each in some:
                    yield each["path"]
        except (BaseError, OSError) as error:
            raise _unusable(error) from None

    def probe(self) -> None:
        """Put, read, list and drop a small object, as the hub does with segments. Raises StoreUnusable."""
        octets = secrets.token_bytes(16)
        # Named as a segment is: what a probe that was cut off leaves is swept as an object without a row.
        name = self.put(Digest(bytes(Digest.LENGTH)), octets)
        read = b"".join(self.read(name, len(octets)))
        listed = name in self.names()
        self.remove(name)
        if read != octets or not listed:
            raise _unusable(EOFError())


def _code(error: Exception) -> str:
    """What S3 calls this fault, or else its type. Nothing else is safe to show.

    The whole text may hold addresses and request ids, and, of a signed address, a signature.
    """
    text = str(error)
    if (found := _CODE.search(text)) is not None:
        return found.group(1)
    return "BadScheme" if "BadScheme" in text else type(error).__name__


def _unusable(error: Exception) -> StoreUnusable:
    code = _code(error)
    remedy = _REMEDIES.get(
        code, "Check segments_url, AWS_ENDPOINT_URL, AWS_REGION and the credentials, then try again."
    )
    return StoreUnusable(f"The bucket of segments cannot be used ({code}).", remedy=remedy)
