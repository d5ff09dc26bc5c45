"""The search that chose the match keys: which sixteen labels, of which weights (docs/gate.md).

`python -m tools.keysearch --seconds 120 --seed 1` searches, `--score-current` scores the shipped list under
the same objective, `--alternatives` those that were set aside. Modules, lowest first: candidates (what may be
chosen), sources (people, and who meets whom under which label), prices (what opening costs an attacker),
objective (what a list is worth), local_search, lists, report.
"""
