"""Attackers, for `tests.campaign.abuse`: what they say stands in `frames`, `calls` and `strangers`.

Everything goes to 127.0.0.1 only, in bounded number and time, and ends by itself.
"""
