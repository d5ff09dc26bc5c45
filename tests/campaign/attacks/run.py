"""One process of attackers: `python -m tests.campaign.attacks.run`, told on standard input what to do.

Every line is a JSON object; every attack ends by itself at its time, and what was counted is said in one
line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.campaign.attacks.table import ATTACKS
from tests.campaign.attacks.wire import Place, Post, Scene

NICE = 10


def scene_of(words: dict[str, Any]) -> Scene:
    return Scene(
        Path(words["folder"]),
        words["server_name"],
        Place(words["hub"], members=True),
        Place(words["enrolment"]),
        Place(words["log"]),
    )


def attack(scene: Scene, words: dict[str, Any]) -> Counter[str]:
    """Run one attack with the attackers `words` names; what they counted together."""
    found = ATTACKS[words["attack"]]
    place: Place = getattr(scene, found.port)
    over_at = time.monotonic() + words["seconds"]
    posts = [
        Post(scene, one["number"], words["number"], one["node"], bytes.fromhex(one["signing_seed"]), over_at)
        for one in words["attackers"]
    ]
    failed: list[str] = []

    def run(post: Post) -> None:
        try:
            found.work(post, place)
        except Exception as error:  # an attacker that breaks attacks nothing: say so
            failed.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=run, args=(post,), daemon=True) for post in posts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(words["seconds"] + 15)
    total = Counter[str]()
    for post in posts:
        total.update(post.counts)
    total["attackers that broke"] += len(failed)
    for reason in failed[:3]:
        print(reason, file=sys.stderr, flush=True)
    return +total


def spin(seconds: float, threads: int) -> Counter[str]:
    """Burn as much processor time as an attack could, and do nothing else: for comparison."""
    end, turns = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        turns += sum(number * number for number in range(1_000)) > threads
    return Counter({"turns": turns})


def main() -> None:
    os.nice(NICE)  # on top of what the campaign itself has
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    scene = scene_of(json.loads(sys.stdin.readline()))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        words = json.loads(line)
        if words["attack"] == "spin":
            counts = spin(words["seconds"], len(words["attackers"]))
        else:
            counts = attack(scene, words)
        print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    main()
