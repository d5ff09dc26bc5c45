"""A hub and nodes that are not honest, against the real code of those that are.

    Case(
        "the hub says nothing of a lookup to one of its targets",
        liar=Liar.HUB,
        does="drops the delivery of the lookup to bravo and gives the receipt all the same",
        expect=Covered("bravo", TargetState.PENDING),
        play=drop_the_lookup,
    )

A case is one row of a table (`tests.byzantine.cases`): an attack in words, who commits it, what it does, and
the one outcome that is allowed. `runner` plays it in the simulator and then asks, of every case alike, what
must never happen: a silent "no record", an honest party that is accused, a log or ledger that does not
verify, an asker that shows by what it sends or says that something was aimed at it.
docs/byzantine.md lists all cases; a test compares it with the table.
"""
