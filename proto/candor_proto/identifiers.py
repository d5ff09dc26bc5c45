"""Birth dates, last four digits and certificates in normal form (docs/matching.md §1.4 to §1.6).

Rules of this file:
- a value that cannot be read is missing, and so is a placeholder: one agency's 1900-01-01 must not match
  another's (MATCHING.md §7 trap 5);
- no calendar check: 1.3 % of FEBRL4's dates are impossible, being typing errors, and still carry evidence;
- of a certificate only what says nothing is dropped: its state, words such as POST or No., separators,
  zeros in front. Letters stay, for two certificates must never become one.
"""

from __future__ import annotations

import re

from candor_proto.folding import fold

# --- dates -------------------------------------------------------------------------------------------

_PART = "[0-9x?]"
_ZONE = r"(?: *(?:z|utc|[+-][0-9]{2}:?[0-9]{2}))?"
_TIME = rf"(?:(?:t| +)[0-9]{{1,2}}:[0-9]{{2}}(?::[0-9]{{2}}(?:\.[0-9]*)?)?(?: *[ap]m)?{_ZONE})?"
_YEAR_FIRST = re.compile(
    rf"({_PART}{{4}})(?:([-/.])({_PART}{{1,2}})(?:\2({_PART}{{1,2}}))?|({_PART}{{2}})({_PART}{{2}}))?{_TIME}"
)
# As Americans write them; four digits of a year behind make it unambiguous which way round (month first).
_YEAR_LAST = re.compile(rf"({_PART}{{1,2}})([-/])({_PART}{{1,2}})\2({_PART}{{4}}){_TIME}")
# Year, month, day: spreadsheets' day zero and one, the first and last day of calendars, what fingers run
# over.
_DATE_PLACEHOLDERS = (
    ("1900", "01", "01"), ("1901", "01", "01"), ("1899", "12", "30"), ("1899", "12", "31"),
    ("0001", "01", "01"), ("1234", "56", "78"), ("9999", "12", "31"),
)  # fmt: skip
_UNKNOWN_PARTS = frozenset({"0000", "9999", "00", "99"})
_MISSING_DATE = ("", "", "")


def normalise_birth_date(text: str) -> tuple[str, str, str]:
    """(year, month, day) as digits, each "" when unknown.

    Read are YYYY-MM-DD, YYYYMMDD, YYYY-MM and YYYY, with - / or . between, and MM/DD/YYYY with / or -; a
    time of day behind is ignored. A part with an X or a question mark in it is unknown, and so is one of
    zeros or nines.
    """
    parts = read_date(text)
    if parts is None or _is_placeholder(*parts):
        return _MISSING_DATE
    year, month, day = parts
    unknown = _UNKNOWN_PARTS
    return "" if year in unknown else year, "" if month in unknown else month, "" if day in unknown else day


def read_date(text: str) -> tuple[str, str, str] | None:
    """Year, month, day as they stand there, "" where unknown or not given; None if it is no date."""
    plain = fold(text).strip()
    if len(plain) == 10 and plain[4] == plain[7] == "-" and (plain[:4] + plain[5:7] + plain[8:]).isdigit():
        return plain[:4], plain[5:7], plain[8:]  # nearly every one
    if found := _YEAR_FIRST.fullmatch(plain):
        parts = [found[1], found[3] or found[5] or "", found[4] or found[6] or ""]
    elif found := _YEAR_LAST.fullmatch(plain):
        parts = [found[4], found[1], found[3]]
    else:
        return None
    year, month, day = [part if part.isdigit() else "" for part in parts]
    return year, f"0{month}"[-2:] if month else "", f"0{day}"[-2:] if day else ""


def _is_placeholder(year: str, month: str, day: str) -> bool:
    """Also when less of it is given: `1900` and `1900-01` as 1900-01-01. Nobody was born in 1111 or 2222."""
    if not year or (year == year[0] * 4 and year not in _UNKNOWN_PARTS):
        return bool(year)
    return any(
        year == filed[0] and month in ("", "00", filed[1]) and day in ("", "00", filed[2])
        for filed in _DATE_PLACEHOLDERS
    )


# --- last four ---------------------------------------------------------------------------------------

_FOUR_DIGITS = re.compile(r"[0-9]{4}")
# The first is never issued; both are what forms are filled with.
_SSN4_PLACEHOLDERS = frozenset({"0000", "9999"})


def normalise_ssn4(text: str) -> str:
    """Four digits, or "" for anything else and for a placeholder."""
    digits = fold(text).strip()
    return digits if _FOUR_DIGITS.fullmatch(digits) and digits not in _SSN4_PLACEHOLDERS else ""


# --- certificates ------------------------------------------------------------------------------------

_NOT_ALPHANUMERIC = re.compile(r"[^A-Z0-9]+")
_STATE = re.compile(r"[A-Z]{2}")
_STATES = {
    "ALABAMA": "AL", "ALASKA": "AK", "ARIZONA": "AZ", "ARKANSAS": "AR", "CALIFORNIA": "CA", "COLORADO": "CO",
    "CONNECTICUT": "CT", "DELAWARE": "DE", "FLORIDA": "FL", "GEORGIA": "GA", "HAWAII": "HI", "IDAHO": "ID",
    "ILLINOIS": "IL", "INDIANA": "IN", "IOWA": "IA", "KANSAS": "KS", "KENTUCKY": "KY", "LOUISIANA": "LA",
    "MAINE": "ME", "MARYLAND": "MD", "MASSACHUSETTS": "MA", "MICHIGAN": "MI", "MINNESOTA": "MN",
    "MISSISSIPPI": "MS", "MISSOURI": "MO", "MONTANA": "MT", "NEBRASKA": "NE", "NEVADA": "NV",
    "NEWHAMPSHIRE": "NH", "NEWJERSEY": "NJ", "NEWMEXICO": "NM", "NEWYORK": "NY", "NORTHCAROLINA": "NC",
    "NORTHDAKOTA": "ND", "OHIO": "OH", "OKLAHOMA": "OK", "OREGON": "OR", "PENNSYLVANIA": "PA",
    "RHODEISLAND": "RI", "SOUTHCAROLINA": "SC", "SOUTHDAKOTA": "SD", "TENNESSEE": "TN", "TEXAS": "TX",
    "UTAH": "UT", "VERMONT": "VT", "VIRGINIA": "VA", "WASHINGTON": "WA", "WESTVIRGINIA": "WV",
    "WISCONSIN": "WI", "WYOMING": "WY", "DISTRICTOFCOLUMBIA": "DC", "WASHINGTONDC": "DC", "PUERTORICO": "PR",
    "GUAM": "GU", "VIRGINISLANDS": "VI", "USVIRGINISLANDS": "VI", "AMERICANSAMOA": "AS",
    "NORTHERNMARIANAISLANDS": "MP",
}  # fmt: skip
_NAMES_OF: dict[str, tuple[str, ...]] = {}
for _name, _code in _STATES.items():
    _NAMES_OF[_code] = (*_NAMES_OF.get(_code, ()), _name)
# Words that call a number a certificate's and are no part of it.
_LABELS = (
    "POST", "PID", "ID", "CERTIFICATION", "CERTIFICATE", "CERT", "LICENSE", "LIC", "NUMBER", "NUM",
    "NO", "NR",
)  # fmt: skip
_DECIMALS = re.compile(r"([0-9]+)\.0+")
_ZEROS_IN_FRONT = re.compile(r"0+(?=[0-9])")
_RUN_OF_FINGERS = "1234567890"


def normalise_state(text: str) -> str:
    """Two capital letters, of a state's name as well; "" for anything else."""
    letters = _NOT_ALPHANUMERIC.sub("", fold(text).upper())
    return letters if _STATE.fullmatch(letters) else _STATES.get(letters, "")


def normalise_certificate(state: str, number: str) -> str:
    """The number of a certificate that `state`, two letters, has issued; "" for a placeholder.

    Capitals and digits. A number without a digit says that there is none (NONE, PENDING, N/A).
    """
    plain = fold(number).strip().upper()
    if decimal := _DECIMALS.fullmatch(plain):  # a spreadsheet took it for a quantity
        plain = decimal[1]
    certificate = plain if plain.isdigit() else _without_labels(state, plain)
    if certificate[:1] == "0":
        certificate = _ZEROS_IN_FRONT.sub("", certificate, count=1)
    return "" if _is_idle_number(certificate) else certificate


def _without_labels(state: str, plain: str) -> str:
    """Joined, without the words in front that only say what it is or which state's; the last word stays."""
    idle = [*_LABELS, *((state, *_NAMES_OF.get(state, ())) if state else ())]
    words = [word for word in _NOT_ALPHANUMERIC.split(plain) if word]
    while len(words) > 1 and words[0] in idle:
        del words[0]
    certificate = "".join(words)
    # A label and a number may also stand together: `TX208415` is what `TX-208415` becomes.
    while label := next((word for word in idle if re.match(f"{word}[0-9]", certificate)), ""):
        certificate = certificate[len(label) :]
    return certificate


def _is_idle_number(certificate: str) -> bool:
    """No digit, zero, five of one digit or 9999, the digits in order: what fills a box."""
    if certificate.isdigit():
        same = certificate == certificate[0] * len(certificate)
        if same and (len(certificate) >= 5 or certificate in ("0", "9999")):
            return True
        return len(certificate) >= 6 and _RUN_OF_FINGERS.startswith(certificate)
    return not any("0" <= letter <= "9" for letter in certificate)


def normalise_post(state: str, number: str) -> tuple[str, str]:
    """(state, number) of a certificate, or two empty texts.

    Numbers are unique within a state only (MATCHING.md §7 trap 7), so one without the other is missing;
    code `P` wants more than three characters in all.
    """
    issuer = normalise_state(state)
    certificate = normalise_certificate(issuer, number) if issuer else ""
    return (issuer, certificate) if len(certificate) > 1 else ("", "")
