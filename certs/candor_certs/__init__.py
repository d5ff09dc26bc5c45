"""The federation's certificates: authority, enrolment, peer identity, revocation, and gRPC's mutual TLS.

Read in this order: `names`, `profiles`, `lifetime`, `requests`, `authority`, `chain`, `revocation`, `peer`,
`invitation`, `store`, `folders`, `mtls`, `cli`. Nothing but `cli` reads the clock.
"""
