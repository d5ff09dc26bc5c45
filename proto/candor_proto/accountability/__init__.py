"""What anybody can check about a party without trusting it: receipts, evidence, audit openings (§16-§18).

No I/O, no clock. Reading order: `file_form`, `trust`, `receipt`, then `evidence` with `against_owner` and
`against_others`, then `draw` and `opening_file`; `suspicion` is how an asker tells what it can prove.
"""
