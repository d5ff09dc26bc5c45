"""Two versions side by side: the release before (its wheel is kept in deploy/releases) and this checkout.

zygote.py      forks commands of one version, of whatever stands on its path; stands alone
versions.py    a version: its wheel unpacked, its commands and its running programs
scene.py       a federation of both versions on either database, and what members do with each other
test_….py      the short forms; the campaigns `upgrade` and `migrations` are the whole ones
"""
