"""Coming back with a certificate that has ended, or that was denied, once the hub's operator says so (§8.7).

Rules of this file:
- the node asks by itself and for ever, with growing pauses: nobody at the agency has to do anything, and no
  file is sent; whether it may come is the operator's word (`candor-hub readmit`);
- it proves who it is with its signing key, over a request for a fresh TLS key, as it does when it renews.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from candor_node.clock import Clock
from candor_node.config import NodeConfig
from candor_node.enrolment_call import Door, enrol
from candor_node.founding import Keys
from candor_proto.canonical import to_milliseconds
from candor_proto.errors import CertificateRefused, InvitationInvalid, MalformedMessage
from candor_wire.codec import read_chain
from candor_wire.v1 import enrolment_pb2


class ComingBack:
    """Asks the hub's enrolment service for a certificate, without an invitation."""

    def __init__(
        self, config: NodeConfig, keys: Keys, roots: Sequence[x509.Certificate], clock: Clock
    ) -> None:
        self._config = config
        self._keys = keys
        self._roots = tuple(roots)
        self._clock = clock

    async def ask(self, request_der: bytes, signature: bytes) -> tuple[bytes, ...]:
        """The chain (DER) with which the hub answers a certificate request, unverified.

        Raises InvitationInvalid while the operator has not let this node back in, CertificateRefused when it
        is not known where to ask, and what `enrol` raises.
        """
        config = self._config
        address = config.enrolment_address
        if not address:
            raise CertificateRefused(
                "This node's certificate is no good any more, and where to ask for another stands nowhere.",
                remedy="Write enrolment_address into node.toml, as it stands in the invitation behind "
                "`Enrolment:`, and start the node again; the hub's operator runs: "
                f"candor-hub readmit {config.node}.",
            )
        message = enrolment_pb2.EnrolRequest(
            ori=config.oris[0] if config.oris else "",
            node=config.node,
            certificate_request=request_der,
            signing_key=self._keys.signing.public.value,
            disclosure_key=self._keys.disclosure.public,
            node_time_milliseconds=to_milliseconds(self._clock.now()),
            signature=signature,
        )
        shares, proxy = address == config.hub_address, config.proxy_to(address)
        door = Door(config.federation_name, address, shares, self._roots, proxy)
        try:
            response = await enrol(door, message, self._clock)
        except MalformedMessage:
            # A hub of the release before knows invitations only.
            raise InvitationInvalid(
                "This node's certificate is no good any more, and this hub takes it back by invitation only.",
                remedy="Ask the hub's operator for one (`candor-hub invite --rejoin`), then run: candor-node "
                "join INVITATION --rejoin",
            ) from None
        return read_chain(list(response.certificate_chain))
