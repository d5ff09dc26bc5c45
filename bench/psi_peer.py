"""OpenMined PSI on given items, one round: run by `bench.environments` in an environment of its own.

Reads one JSON object from standard input: `server` items and `client` items (texts), whether to do the
`set_up` only. Prints CPU and wall-clock seconds of each step and the sizes of the messages. It prints
nothing of the project's and imports nothing of it. ECDH on P-256, no proof of the server's key, raw data
structure (no false positives), the intersection itself revealed, as in its own examples.
"""

import json
import sys
import time
from importlib.metadata import version
from typing import Any


def timed(work: Any) -> tuple[float, float, Any]:
    wall, cpu = time.perf_counter(), time.thread_time()
    result = work()
    return time.thread_time() - cpu, time.perf_counter() - wall, result


def told() -> None:
    import private_set_intersection.python as psi  # type: ignore[import-not-found]  # lives elsewhere

    asked = json.load(sys.stdin)
    server_items, client_items = asked["server"], asked["client"]
    steps: dict[str, list[float]] = {}
    sizes: dict[str, int] = {}

    def step(name: str, work: Any) -> Any:
        cpu, wall, result = timed(work)
        steps[name] = [cpu, wall]
        return result

    server = step("new_server", lambda: psi.server.CreateWithNewKey(True))
    set_up = step(
        "set_up",
        lambda: server.CreateSetupMessage(0.0, len(client_items), server_items, psi.DataStructure.RAW),
    )
    sizes["set_up"] = set_up.ByteSize()
    if client_items:
        client = psi.client.CreateWithNewKey(True)
        request = step("request", lambda: client.CreateRequest(client_items))
        response = step("process", lambda: server.ProcessRequest(request))
        common = step("intersection", lambda: client.GetIntersection(set_up, response))
        sizes |= {"request": request.ByteSize(), "response": response.ByteSize(), "common": len(common)}
    json.dump(
        {"seconds": steps, "octets": sizes, "items": [len(server_items), len(client_items)],
         "version": version("openmined-psi")},
        sys.stdout,
    )  # fmt: skip


if __name__ == "__main__":
    told()
