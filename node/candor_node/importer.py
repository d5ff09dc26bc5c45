"""Import of records from a table: all of it or nothing.

Rules of this file:
- it is given rows in the columns of the template; which file and profile they come from is not its matter;
- what is wrong with rows is reported row by row, column by column, all of it, and then no row is stored;
- no message repeats a cell, for a cell in the wrong column may be anybody's name;
- a row is known by its agency_record_id: the same content again changes nothing, another content is a new
  version. So an agency may send its whole export every night. The same person, kind and day under another id
  waits for a person's word;
- a row that opens what was RED does not open it: that takes two people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from candor_node import csv_file, filings, ledger, lifecycle, mapping, record_digests, staging
from candor_node.filings import CurrentFiling, SealedRecord
from candor_node.import_outcome import ImportReport, Outcome, RowError, Status
from candor_node.lifecycle import Doing
from candor_node.store import Database
from candor_proto.errors import InputInvalid, WrongStanding
from candor_proto.ids import NodeId, Ori
from candor_proto.policy import Sharing
from candor_records.content import Content, FieldInvalid, lying_ahead, unreportable
from candor_records.gate import UNREVIEWED, GateState
from candor_records.life import LIVE, REPORTS, Act, act_of, check_act
from candor_records.policy import NoPack, Policy
from candor_records.record_fields import parse
from candor_records.records import Record, Standing, initial

MAX_ROWS = 100_000
MAX_ERRORS_SHOWN = 1_000
_NO_PACK = NoPack()
_YEAR = timedelta(days=366)
_REMEDY = "Nothing was stored. Save it as CSV (UTF-8, comma-separated) with the columns of the template."

# Puts the opening of a RED record before a second person.
ProposeOpening = Callable[[Database, Record, Sharing], None]


@dataclass(frozen=True, repr=False)
class GivenRow:
    """A row of the table: cells of the import's columns, or what is wrong with the row as such."""

    number: int
    cells: Sequence[str]
    fault: str = ""


@dataclass(frozen=True, repr=False)
class ReadRow:
    """A row that was looked at by itself."""

    number: int
    content: Content | None
    problems: tuple[RowError, ...]


@dataclass(frozen=True, repr=False)
class Known:
    """What the database says of some rows, by their place: the record, its version, a likely twin."""

    filing: CurrentFiling | None = None
    version: SealedRecord | None = None
    twin: str = ""


class Import:
    """One import under way. Rows go through `read`, `look_up`, `plan` and `staging.add`; then `finish`.

    `look_up`, `add` and `finish` run in the caller's transactions; `read` and `plan`, where the work is,
    outside of any. Belongs to one caller at a time.
    """

    def __init__(
        self,
        doing: Doing,
        ori: Ori,
        node: NodeId,
        columns: Sequence[str],
        secret: bytes,
        *,
        dry_run: bool = False,
        allow_duplicates: bool = False,
        drafts: bool = False,
        pass_over_ended: bool = False,
    ) -> None:
        """`secret` is `record_digests.digest_secret`; `drafts`: a second person reviews what is new.

        `pass_over_ended`: a row of a record that is over here, for good, does not stop the others.
        Raises InputInvalid for columns of no template.
        """
        strange = [name for name in columns if name not in mapping.COLUMNS]
        missing = [name for name in mapping.REQUIRED if name not in columns]
        if strange or missing or len(set(columns)) != len(columns):
            raise InputInvalid("The columns are not those of the template.", remedy=_REMEDY)
        self._doing, self._ori, self._node = doing, ori, node
        self._columns = tuple(columns)
        self._secret = secret
        self._seals = staging.Seals()
        self._dry_run, self._allow_duplicates = dry_run, allow_duplicates
        self._drafts, self._pass_over_ended = drafts, pass_over_ended
        self._ids: dict[str, int] = {}
        self._persons: dict[bytes, int] = {}
        self.rows = 0
        self._errors: list[RowError] = []
        self._error_count = 0
        self._counts: Counter[Status] = Counter()
        self._reports: Counter[str] = Counter()
        self._held_because: Counter[str] = Counter()
        self._refused_because: Counter[str] = Counter()
        self._wanting: Counter[str] = Counter()
        self._held = 0
        self._opening = 0

    @property
    def storing(self) -> bool:
        """Whether rows are still staged: not in a dry run, and not once anything was wrong."""
        return not self._dry_run and not self._error_count

    # --- a row by itself -------------------------------------------------------------------------------

    def read(self, rows: Iterable[GivenRow]) -> list[ReadRow]:
        """Look at each row by itself. Raises InputInvalid when there are too many."""
        found = []
        for row in rows:
            self.rows += 1
            if self.rows > MAX_ROWS:
                raise InputInvalid(
                    f"The file has more than {MAX_ROWS:,} rows.", remedy="Nothing was stored. Split the file."
                )
            found.append(self._read(row))
        return found

    def _read(self, row: GivenRow) -> ReadRow:
        number = row.number
        if row.fault or len(row.cells) != len(self._columns):
            reason = row.fault or f"has {len(row.cells)} cells where the header has {len(self._columns)}"
            return ReadRow(number, None, (RowError(number, "(row)", reason),))
        cells = dict(zip(self._columns, row.cells, strict=True))
        content, faults = parse(cells, settlements=self._doing.policy.settlements_allowed)
        problems = [_row_error(number, fault) for fault in faults]
        agency_record_id = record_digests.folded_id(cells["agency_record_id"])
        if agency_record_id and self._ids.setdefault(agency_record_id, number) != number:
            reason = f"stands in row {self._ids[agency_record_id]} already; each record once"
            problems.append(RowError(number, "agency_record_id", reason))
        if content is not None and content.effective_on > self._doing.now.date() + _YEAR:
            problems.append(RowError(number, "effective_on", "lies more than a year ahead"))
        if content is not None:
            ahead = lying_ahead(content, self._doing.now.date())
            problems += [_row_error(number, fault) for fault in ahead]
        return ReadRow(number, None if problems else content, tuple(problems))

    # --- a row and what is known ------------------------------------------------------------------------

    def look_up(self, db: Database, rows: Sequence[ReadRow]) -> list[Known]:
        """What the database knows of the rows; reads only."""
        return [Known() if row.content is None else self._known(db, row.content) for row in rows]

    def _known(self, db: Database, content: Content) -> Known:
        filing = filings.current_filing(db, self._ori, content.agency_record_id)
        if filing is None:
            person = record_digests.person_digest(self._secret, content)
            return Known(twin="" if person is None else record_digests.filed_about(db, self._ori, person))
        same = filing.content_mac == record_digests.content_digest(self._secret, content)
        if filing.standing not in LIVE or (same and filing.sharing is content.sharing):
            return Known(filing)
        return Known(filing, filings.sealed_version(db, filing.dcn))

    def plan(self, rows: Sequence[ReadRow], known: Sequence[Known]) -> tuple[list[Outcome], staging.Staged]:
        """What becomes of each row, and what is to wait for the end of the import."""
        outcomes: list[Outcome] = []
        new: list[tuple[Record, GateState]] = []
        changes: list[tuple[str, bytes]] = []
        for row, about in zip(rows, known, strict=True):
            if row.content is None:
                outcome = Outcome(row.number, Status.REFUSED, row.problems)
            elif about.filing is None:
                outcome, record = self._new(row.number, row.content, about.twin)
                if record is not None and self.storing:
                    new.append(record)
            elif about.version is None:
                outcome = self._as_it_is(row.number, about.filing)
            else:
                outcome = self._changed(row.number, row.content, about.version.open())
                if outcome.status is Status.CHANGED and self.storing:
                    changes.append(self._seals.change(about.filing.dcn, row.content))
            outcomes.append(outcome)
            self._count(outcome)
        staged = staging.Staged(staging.rows_of(new, self._doing, self._seals, self._secret), changes)
        return outcomes, staged

    def _new(self, row: int, content: Content, twin: str) -> tuple[Outcome, tuple[Record, GateState] | None]:
        if faults := unreportable(content):
            problems = tuple(RowError(row, fault.field, fault.reason) for fault in faults)
            return Outcome(row, Status.REFUSED, problems), None
        person = record_digests.person_digest(self._secret, content)
        first = row if person is None else self._persons.setdefault(person, row)
        if not self._allow_duplicates and (twin or first != row):
            place = f"as {twin}" if twin else f"in row {first}"
            reason = f"this person, kind and day stand {place} already, under another id"
            problem = RowError(row, "agency_record_id", reason)
            return Outcome(row, Status.DUPLICATE, (problem,)), None
        record = initial(
            content, self._doing.now, self._ori, self._node, self._doing.by, reviewed=not self._drafts
        )
        record, decision = lifecycle.prepared(Act.FILE, record, self._doing)
        state = decision.state()
        outcome = Outcome(row, Status.NEW, (), REPORTS[Act.FILE].name, _held(record, state), content.wanting)
        return outcome, (record, state)

    def _as_it_is(self, row: int, filing: CurrentFiling) -> Outcome:
        if filing.standing in LIVE:
            return Outcome(row, Status.UNCHANGED)
        reason = "this record is void, expired or expunged; a new report needs a new id"
        return self._ended(row, RowError(row, "agency_record_id", reason))

    def _ended(self, row: int, problem: RowError) -> Outcome:
        status = Status.PASSED_OVER if self._pass_over_ended else Status.REFUSED
        return Outcome(row, status, (problem,))

    def _changed(self, row: int, content: Content, before: Record) -> Outcome:
        content = lifecycle.under_its_id(before, content)
        act = act_of(before, content)
        choice = _choice(before, content)
        if act is None:
            status = Status.UNCHANGED if choice is None else Status.CHANGED
            self._opening += choice is not None and before.sharing is Sharing.RED
            return Outcome(row, status, (), "" if choice is None else Act.CHANGE_SHARING.name)
        if content.record_kind is not before.kind:
            reason = (
                "differs from the record as filed; a record's kind does not change: void it, file a new one"
            )
            return Outcome(row, Status.REFUSED, (RowError(row, "record_kind", reason),))
        try:
            check_act(before, act)
        except WrongStanding as error:
            problem = RowError(row, "(row)", error.message.rstrip("."))
            if before.overturned:
                return self._ended(row, problem)
            return Outcome(row, Status.REFUSED, (problem,))
        after = lifecycle.filing(act, before, content, self._doing)
        after, decision = lifecycle.prepared(act, after, self._doing)
        held = _held(after, decision.state())
        self._opening += choice is not None and before.sharing is Sharing.RED
        return Outcome(row, Status.CHANGED, (), REPORTS[act].name, held, content.wanting)

    def _count(self, outcome: Outcome) -> None:
        self._counts[outcome.status] += 1
        if outcome.status in (Status.NEW, Status.CHANGED):
            self._reports[outcome.report] += 1
            self._held += bool(outcome.held)
            self._held_because.update(outcome.held)
            self._wanting.update(outcome.wanting)
        if outcome.status is Status.PASSED_OVER:
            return
        self._refused_because.update(each.code for each in outcome.problems if each.code)
        self._error_count += len(outcome.problems)
        room = MAX_ERRORS_SHOWN - len(self._errors)
        self._errors += outcome.problems[: max(room, 0)]

    # --- the end ---------------------------------------------------------------------------------------

    def report(self) -> ImportReport:
        """What the import did, or would do if nothing were wrong; InputInvalid for no rows."""
        if not self.rows:
            raise InputInvalid(
                "The file has a header but no records.",
                remedy="Nothing was stored. Below the header each row is a record; rows that begin with # "
                "are passed over.",
            )
        done = not self._error_count or self._dry_run
        return ImportReport(
            new=self._counts[Status.NEW] if done else 0,
            changed=self._counts[Status.CHANGED] if done else 0,
            unchanged=self._counts[Status.UNCHANGED] if done else 0,
            held=self._held if done else 0,
            errors=tuple(self._errors),
            error_count=self._error_count,
            duplicates=self._counts[Status.DUPLICATE],
            passed_over=self._counts[Status.PASSED_OVER] if done else 0,
            opening=self._opening if done else 0,
            reports=dict(sorted(self._reports.items())) if done else {},
            held_because=dict(sorted(self._held_because.items())) if done else {},
            drafts=self._counts[Status.NEW] if done and self._drafts else 0,
            refused_because=dict(sorted(self._refused_because.items())),
            wanting=dict(self._wanting.most_common()) if done else {},
        )

    def finish(self, db: Database, propose_opening: ProposeOpening) -> ImportReport:
        """Make all rows records, in the caller's transaction. Raises InputInvalid when one was overtaken."""
        report = self.report()
        for content, event in staging.make_records(db, self._seals, self._doing):
            record = filings.find_by_agency_id(db, self._ori, content.agency_record_id)
            assert record is not None
            before = record if event is None or event.before is None else event.before
            self._share(db, record, before, content, propose_opening)
        refs = {"ori": str(self._ori), "user": self._doing.by}
        counts: dict[str, ledger.Value] = {"new": report.new, "changed": report.changed}
        counts |= {"unchanged": report.unchanged, "held": report.held, "opening": report.opening}
        ledger.append(db, self._doing.now, "import.done", refs, counts)
        return report

    def _share(
        self, db: Database, record: Record, before: Record, content: Content, propose_opening: ProposeOpening
    ) -> None:
        """Follow a choice of sharing that the file makes anew; opening what is RED is proposed only."""
        choice = _choice(before, content)
        if choice is None or record.circumstances.standing not in LIVE:
            return
        if record.sharing is Sharing.RED:
            propose_opening(db, record, choice)
            return
        circumstances = replace(record.circumstances, sharing=choice)
        lifecycle.change(db, record.dcn, Act.CHANGE_SHARING, self._doing, circumstances)


def _row_error(number: int, fault: FieldInvalid) -> RowError:
    code = fault.refusal.name if fault.refusal else ""
    return RowError(number, fault.field, fault.reason, code)


def _held(record: Record, state: GateState) -> tuple[str, ...]:
    """The clauses that hold a record back; that a draft is not reviewed yet is told of all drafts at once."""
    if record.circumstances.standing is Standing.ACTIVE:
        return ()
    return tuple(name for name in state.failed if name != UNREVIEWED)


def _choice(before: Record, content: Content) -> Sharing | None:
    """How the file wants a known record shared, if it says so anew: what people decided since stands."""
    if content.sharing in (before.content.sharing, before.sharing):
        return None
    return content.sharing


# --- a file within one transaction ---------------------------------------------------------------------


def import_csv(
    db: Database,
    content: bytes,
    now: datetime,
    ori: Ori,
    node: NodeId,
    contributor: str,
    policy: Policy = _NO_PACK,
    *,
    allow_duplicates: bool = True,
) -> ImportReport:
    """Import a small CSV file in the columns of the template inside the caller's transaction.

    Likely duplicates are let pass, for nobody can be asked. Raises InputInvalid when the file as a whole
    cannot be read. Large ones come through `service_intake`.
    """
    columns, rows = csv_rows(content)
    work = Import(
        Doing(now, contributor, policy),
        ori,
        node,
        columns,
        record_digests.digest_secret(db),
        allow_duplicates=allow_duplicates,
    )
    read = work.read(rows)
    staging.begin(db)
    _, staged = work.plan(read, work.look_up(db, read))
    if not work.storing:
        staging.clear_all(db)
        return work.report()
    staging.add(db, staged)
    report = work.finish(db, no_opening)
    staging.clear_all(db)
    return report


def csv_rows(content: bytes) -> tuple[tuple[str, ...], Iterator[GivenRow]]:
    """Columns and rows of a CSV file in the columns of the template. Raises InputInvalid, at any row."""
    lines = csv_file.rows(csv_file.decode(content, _REMEDY), _REMEDY)
    header = next(lines, (1, []))[1]
    mapper = mapping.Mapper(None, header)
    return mapper.columns, (
        given(mapper, number, cells, len(header)) for number, cells in lines if not mapper.passes_over(cells)
    )


def given(mapper: mapping.Mapper, number: int, cells: Sequence[str], width: int) -> GivenRow:
    """A row of a CSV file in the columns of the template; a quotation mark amiss shows in its width."""
    if len(cells) != width:
        reason = f"has {len(cells)} cells where the header has {width}; check quotes and commas"
        return GivenRow(number, (), reason)
    return GivenRow(number, mapper.row(cells))


def no_opening(db: Database, record: Record, sharing: Sharing) -> None:
    """Where nobody can be asked, what is RED stays RED."""
