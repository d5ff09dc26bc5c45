"""In front of gRPC: a process that takes connections and passes their octets on, within bounds.

gRPC's own limits begin behind a whole header block or a whole call, and one of its threads works for a flood
while others wait (docs/limits.md). The guard sees no more than TLS does: who connects, and how many octets
come. How many of them became messages of members it is told by the hub, on a page of shared memory (`board`).

    board      the page: what each connection has to show
    budget     how many octets a connection may bring now; pure
    turns      whose connection is opened next; pure
    link       doors, connections and their sockets
    silence    connections whose pings wake nobody
    relay      sockets: accept, connect, pass on
    process    what runs as `python -m candor_hub.guard`; imports nothing but the standard library
    keeper     the hub's side: starts it, hears it, starts it again
"""
