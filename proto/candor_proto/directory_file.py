"""A signed directory as a file: what a member gives to a successor (docs/protocol.md §19.7)."""

from __future__ import annotations

from dataclasses import dataclass, field

from candor_proto.accountability.file_form import encode_file, parse_file
from candor_proto.directory import Directory
from candor_proto.errors import MalformedMessage
from candor_proto.ids import FederationName
from candor_proto.signing import SIGNATURE_OCTETS, SignedStatement
from candor_proto.tlog.base64lines import encode_octets

FORMAT = "candor-directory/1"


@dataclass(frozen=True)
class DirectoryFile:
    """The signed octets of a directory and the chain (DER) of its key; nothing is verified."""

    federation: FederationName
    statement: SignedStatement = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)

    @property
    def directory(self) -> Directory:
        """Raises MalformedMessage, NotCanonical or LimitExceeded."""
        return Directory.decode(self.statement.body)

    def encode(self) -> bytes:
        return encode_file(
            {
                "format": FORMAT,
                "federation": str(self.federation),
                "body": encode_octets(self.statement.body),
                "signature": encode_octets(self.statement.signature),
                "chain": [encode_octets(der) for der in self.chain],
            }
        )

    @classmethod
    def decode(cls, octets: bytes) -> DirectoryFile:
        """Raises MalformedMessage, NotCanonical or LimitExceeded."""
        fields = parse_file(octets)
        fields.expect("format", FORMAT)
        federation = FederationName(fields.text("federation"))
        statement = SignedStatement(fields.octets("body"), fields.octets("signature", SIGNATURE_OCTETS))
        chain = fields.octets_list("chain")
        fields.finish()
        found = cls(federation, statement, chain)
        if found.directory.federation != federation:
            raise MalformedMessage("The directory in the file is that of another federation.")
        return found
