"""The doors of the local socket: every method has an operation, and who acts is who signed in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from candor_node import badge, doors, local_server, service
from candor_node.local_server import SERVICES, LocalServer, all_operations
from candor_node.office import EXECUTORS
from candor_node.store import Store
from candor_proto.errors import ConfigInvalid
from candor_records.roles import RULES, Operation, Role
from candor_wire.status import ERROR_METADATA_KEY
from candor_wire.v1 import intake_pb2, local_pb2, office_pb2
from tests.offices import ADMIN, APPROVER, ASKER, AUDITOR, CLERK, STAFF, Stubs, office_store, register
from tests.records import NOW

WIRE = Path(__file__).parents[3] / "proto" / "candor_wire" / "v1"
# Services that do not stand on the local socket.
ELSEWHERE = {"hub_pb2", "enrolment_pb2"}


def every_local_method() -> list[str]:
    """Full names of all methods of all local services, from the descriptors of the generated code."""
    found = []
    for path in sorted(WIRE.glob("*_pb2.py")):
        if path.stem in ELSEWHERE:
            continue
        descriptor = import_module(f"candor_wire.v1.{path.stem}").DESCRIPTOR
        for each in descriptor.services_by_name.values():
            found += [f"/{each.full_name}/{method.name}" for method in each.methods]
    return found


@pytest.mark.parametrize("method", every_local_method())
def test_every_method_of_every_local_service_has_an_operation(method: str) -> None:
    assert all_operations().get(method) in RULES


def test_no_operation_is_named_for_a_method_that_does_not_exist() -> None:
    assert set(all_operations()) == set(every_local_method())


def test_every_service_on_the_socket_stands_behind_the_doors() -> None:
    assert {each.name for each in SERVICES} == {
        name.split("/")[1].split(".")[-1] for name in all_operations()
    }


# --- over a real socket --------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with office_store(tmp_path) as store:
        yield store


async def _nothing(operation: Operation) -> None:
    """What follows a decision in the rest of the node."""


def play(store: Store, folder: Path, scene: Callable[[grpc.aio.Channel], Awaitable[None]]) -> None:
    """Serve the socket of a node that has a store and nothing else."""
    node: Any = SimpleNamespace(
        config=SimpleNamespace(socket=folder / "s", lookup_wait_seconds=5.0, oris=()),
        store=store,
        clock=SimpleNamespace(now=lambda: NOW),
        executors=EXECUTORS,
        allowed_lookups=SimpleNamespace(decided=asyncio.Event()),
        batches=SimpleNamespace(landing=SimpleNamespace(changed=asyncio.Event())),
        aftermath=SimpleNamespace(decided=_nothing),
    )

    async def whole() -> None:
        server = LocalServer(node)
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"unix:{folder / 's'}") as channel:
                await scene(channel)
        finally:
            await server.stop()

    asyncio.run(whole())


async def refusal(call: Awaitable[Any]) -> str:
    """The code of the error with which a call is refused."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        pairs = dict(cast(Any, error.trailing_metadata()) or ())
        return str(pairs.get(ERROR_METADATA_KEY, error.code()))
    return ""


LISTS: dict[str, Any] = {
    "ListLookups": local_pb2.ListLookupsRequest(),
    "ListBatches": local_pb2.ListBatchesRequest(),
    "ListRequests": local_pb2.ListRequestsRequest(),
    "ListLedger": local_pb2.ListLedgerRequest(),
}


@pytest.mark.parametrize("method", LISTS)
@pytest.mark.parametrize("user", STAFF)
def test_each_role_reaches_over_the_socket_what_the_matrix_says(
    store: Store, tmp_path: Path, user: str, method: str
) -> None:
    tokens = store.run_sync(register)
    allowed = STAFF[user] in RULES[service.OPERATIONS[method]].roles

    async def scene(channel: grpc.aio.Channel) -> None:
        found = await refusal(getattr(Stubs(channel, user, tokens[user]).local, method)(LISTS[method]))
        assert found == ("" if allowed else "wrong_role")

    play(store, tmp_path, scene)


@pytest.mark.parametrize(("user", "token_of"), [("", ""), (CLERK, ""), (CLERK, APPROVER), ("root", CLERK)])
def test_without_the_right_token_nothing_is_done(
    store: Store, tmp_path: Path, user: str, token_of: str
) -> None:
    tokens = store.run_sync(register)

    async def scene(channel: grpc.aio.Channel) -> None:
        stubs = Stubs(channel, user, tokens.get(token_of, ""))
        assert await refusal(stubs.local.ListRequests(LISTS["ListRequests"])) == "not_authenticated"

    play(store, tmp_path, scene)


def test_a_disabled_user_is_refused_in_the_middle_of_the_day(store: Store, tmp_path: Path) -> None:
    tokens = store.run_sync(register)

    async def scene(channel: grpc.aio.Channel) -> None:
        clerk, admin = Stubs(channel, CLERK, tokens[CLERK]), Stubs(channel, ADMIN, tokens[ADMIN])
        assert await refusal(clerk.local.ListRequests(LISTS["ListRequests"])) == ""
        await admin.office.DisableUser(office_pb2.DisableUserRequest(user_id=CLERK))
        assert await refusal(clerk.local.ListRequests(LISTS["ListRequests"])) == "not_authenticated"

    play(store, tmp_path, scene)


def test_a_method_without_an_operation_is_refused_at_an_open_node_too(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = {name: op for name, op in all_operations().items() if not name.endswith("/ListRequests")}
    monkeypatch.setattr(local_server, "all_operations", lambda: lacking)

    async def scene(channel: grpc.aio.Channel) -> None:
        assert (
            await refusal(Stubs(channel, "root", "").local.ListRequests(LISTS["ListRequests"]))
            == "wrong_role"
        )

    play(store, tmp_path, scene)


def test_a_streaming_method_stands_behind_the_doors_too(store: Store, tmp_path: Path) -> None:
    tokens = store.run_sync(register)

    async def scene(channel: grpc.aio.Channel) -> None:
        async def read(user: str) -> None:
            stubs = Stubs(channel, user, tokens[user])
            async for _ in stubs.local.Lookup(local_pb2.LookupRequest()):
                pass

        async def send(user: str) -> None:
            await Stubs(channel, user, tokens[user]).local.StartBatch(iter(()))

        async def exchange(user: str) -> None:
            async for _ in Stubs(channel, user, tokens[user]).intake.Import(iter(())):
                pass

        assert await refusal(read(CLERK)) == "wrong_role"
        assert await refusal(read(ASKER)) == "malformed_message"
        assert await refusal(send(CLERK)) == "wrong_role"
        assert await refusal(send(ASKER)) == "input_invalid"
        assert await refusal(exchange(ASKER)) == "wrong_role"
        assert await refusal(exchange(CLERK)) == "input_invalid"

    play(store, tmp_path, scene)


def test_a_message_that_names_somebody_else_is_refused(store: Store, tmp_path: Path) -> None:
    tokens = store.run_sync(register)

    async def scene(channel: grpc.aio.Channel) -> None:
        asker = Stubs(channel, ASKER, tokens[ASKER])

        async def ask(officer: str) -> None:
            request = local_pb2.LookupRequest(
                person=local_pb2.Person(first="Jo", last="Doe"),
                purpose="J_APPLICANT",
                shape="DETAILED",
                officer=officer,
            )
            async for _ in asker.local.Lookup(request):
                pass

        assert await refusal(ask("Inv. Dana Roe")) == "identity_mismatch"

        async def file(contributor: str) -> None:
            start = intake_pb2.ImportStart(contributor=contributor)
            parts = [intake_pb2.ImportRequest(start=start)]
            async for _ in Stubs(channel, CLERK, tokens[CLERK]).intake.Import(iter(parts)):
                pass

        assert await refusal(file(APPROVER)) == "identity_mismatch"

    play(store, tmp_path, scene)


def test_an_approval_over_the_socket_notes_the_self_attempt_it_refuses(store: Store, tmp_path: Path) -> None:
    tokens = store.run_sync(register)

    async def scene(channel: grpc.aio.Channel) -> None:
        admin, auditor = Stubs(channel, ADMIN, tokens[ADMIN]), Stubs(channel, AUDITOR, tokens[AUDITOR])
        request = office_pb2.ChangeRolesRequest(user_id=CLERK, give=["APPROVER"], reason="deputy")
        held = (await admin.office.ChangeRoles(request)).approval_id
        approve = office_pb2.DecideApprovalRequest(approval_id=held, approve=True)
        assert await refusal(admin.office.DecideApproval(approve)) == "wrong_role"
        await auditor.office.DecideApproval(approve)
        assert await refusal(auditor.office.DecideApproval(approve)) == "wrong_standing"
        found = await auditor.local.ListLedger(local_pb2.ListLedgerRequest(event="approval"))
        events = [entry.event for entry in found.entries]
        assert events == ["approval.proposed", "approval.self_attempt", "approval.approved"]
        listed = await auditor.office.ListUsers(office_pb2.ListUsersRequest())
        assert Role.APPROVER.value in next(user.roles for user in listed.users if user.user_id == CLERK)

    play(store, tmp_path, scene)


# --- what a command shows ------------------------------------------------------------------------------


@given(
    st.text(st.characters(codec="utf-8"), max_size=20).map(str.strip),
    st.text(alphabet="abcXYZ019-_", max_size=43),
)
def test_user_and_token_arrive_as_they_were_shown(user: str, token: str) -> None:
    carried: dict[str, str | bytes] = dict(badge.metadata(user, token))
    assert all(str(value).isascii() for value in carried.values())
    assert badge.shown(carried) == (user, token)


@given(st.dictionaries(st.sampled_from(badge.KEYS), st.text(max_size=400) | st.binary(max_size=10)))
def test_whatever_is_shown_is_read_as_text_or_not_at_all(carried: dict[str, str | bytes]) -> None:
    for text in badge.shown(carried):
        assert len(text) <= badge.MAX_CHARACTERS


def test_a_token_that_others_may_read_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("abc\n")
    path.chmod(0o644)
    monkeypatch.setenv(badge.TOKEN_VARIABLE, str(path))
    with pytest.raises(ConfigInvalid, match="read by others"):
        badge.read_token()
    path.chmod(0o600)
    assert badge.read_token() == "abc"
    monkeypatch.setenv(badge.TOKEN_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ConfigInvalid, match="no token"):
        badge.read_token()
    monkeypatch.delenv(badge.TOKEN_VARIABLE)
    monkeypatch.setenv("HOME", os.fspath(tmp_path))
    assert badge.read_token() == ""


def test_only_the_status_needs_no_signing_in() -> None:
    assert {"/candor.v1.LocalService/Status"} == doors.WITHOUT_SIGNING_IN
    assert service.OPERATIONS["Status"] is Operation.VIEW_STATUS
