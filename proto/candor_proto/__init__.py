"""The Candor protocol, pure: no input or output, no clock, no transport.

Read docs/protocol.md first, then the modules in this order: errors, ids, canonical, sodium, group,
oprf, normalise, field_codes, scheme, matchkeys, shamir, sealed_index, signing, statements, policy, budget,
exchange.
Nothing outside this package can change what is disclosed to whom.
"""
