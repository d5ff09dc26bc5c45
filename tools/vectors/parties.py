"""The federation of the vectors: who there is, with which keys. All of it drawn, none of it anybody's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from candor_proto import oprf
from candor_proto.canonical import Writer, from_milliseconds, to_milliseconds
from candor_proto.ids import FederationName, KeyClass, NodeId
from candor_proto.sealing import DisclosureKey
from candor_proto.signing import SignedStatement, SigningKey
from tools.vectors.draws import draw

FEDERATION = FederationName("vectors.candor.example")
NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
EPOCH = 7


def ms(moment: datetime) -> str:
    """A time as vectors state it."""
    return str(to_milliseconds(moment))


def moment(text: str) -> datetime:
    return from_milliseconds(int(text))


def part(statement: SignedStatement) -> dict[str, str]:
    return {"body": statement.body.hex(), "signature": statement.signature.hex()}


def epoch_key_info(federation: FederationName, node: NodeId, epoch: int, key_class: KeyClass) -> bytes:
    writer = Writer("epoch-key").text(str(federation)).text(str(node)).integer(epoch, 4)
    return writer.integer(key_class.value, 1).finish()


@dataclass(frozen=True)
class Party:
    """A member: its signing key, disclosure key and the seed of its epoch keys."""

    name: str

    @property
    def node(self) -> NodeId:
        return NodeId(self.name)

    @cached_property
    def signing(self) -> SigningKey:
        return SigningKey(draw(f"signing key of {self.name}", 32))

    @cached_property
    def disclosure(self) -> DisclosureKey:
        return DisclosureKey(draw(f"disclosure key of {self.name}", 96))

    @property
    def seed(self) -> bytes:
        return draw(f"epoch seed of {self.name}", 32)

    @cached_property
    def keys(self) -> dict[KeyClass, oprf.KeyPair]:
        """The key pairs of epoch 7."""
        return self.keys_of(EPOCH)

    def keys_of(self, epoch: int) -> dict[KeyClass, oprf.KeyPair]:
        return {
            key_class: oprf.derive_key_pair(
                self.seed, epoch_key_info(FEDERATION, self.node, epoch, key_class)
            )
            for key_class in KeyClass
        }


ASKER, OWNER, THIRD = Party("alder-pd"), Party("birch-so"), Party("cedar-post")
DIRECTORY_KEY = SigningKey(draw("directory key", 32))
