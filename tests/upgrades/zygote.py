"""Fork commands of the version that stands on PYTHONPATH: `python zygote.py`, requests on standard input.

A request is a line of JSON: {"program", "words", "folder", "environment", "out", "err", "status"}. An answer
is one too: {"pid"}; a command that ends by itself writes its exit status into the file `status`. The first
answer says which version this is and where it was imported from. Of the standard library and of what the
version itself has: it imports nothing of the checkout. With CANDOR_TEST_RENEW_AT_START every node that it
starts renews its certificate at once, and from then on when it is due.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import signal
import sys


def main() -> None:
    import candor_certs.cli
    import candor_hub.cli
    import candor_hub.running
    import candor_node.cli
    import candor_node.running

    programs = {
        "candor-hub": candor_hub.cli.main,
        "candor-node": candor_node.cli.main,
        "candor-certs": candor_certs.cli.main,
    }
    if os.environ.get("CANDOR_TEST_RENEW_AT_START"):
        renew_at_start()
    say({"version": importlib.metadata.version("candor-exchange"), "place": candor_node.cli.__file__})
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            child(programs[request["program"]], request)
        say({"pid": pid})
        while True:  # whatever else has ended
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    break
            except ChildProcessError:
                break


def renew_at_start() -> None:
    """In each process that is forked from now on, the first time to renew is at once."""
    from candor_node import renewal

    names = vars(renewal)
    as_it_is = names["renewal_time"]

    def at_once(*arguments: object) -> object:
        names["renewal_time"] = as_it_is
        return arguments[0]  # when the certificate that is held begins

    names["renewal_time"] = at_once


def say(words: dict[str, object]) -> None:
    print(json.dumps(words), flush=True)


def child(run: object, request: dict[str, object]) -> None:
    """Become the command; does not return."""
    status: object = 70
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: it ends with the zygote
        os.chdir(str(request["folder"]))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for name, number in (("out", 1), ("err", 2)):
            target = os.open(str(request[name]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(target, number)
        os.environ.update(request["environment"])  # type: ignore[call-overload]  # JSON
        sys.argv = [str(request["program"]), *request["words"]]  # type: ignore[misc]  # JSON
        status = 0
        run()  # type: ignore[operator]  # main() of a program
    except SystemExit as ended:
        status = ended.code or 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        number = status if isinstance(status, int) else 1
        with contextlib.suppress(OSError), open(str(request["status"]), "w") as file:
            file.write(str(number))
        os._exit(number)


if __name__ == "__main__":
    main()
