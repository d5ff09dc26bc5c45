"""What a text may not hold, by patterns of words (RECORDS.md §3.2, §7.2): a help to the clerk, no proof.

Rules of this file:
- a pattern takes the phrase by which the thing is told, not the topic: "the juvenile court", "ran NCIC
  queries for a friend" and "first aid" are ordinary, and every false alarm teaches clerks to write less;
- some phrases are refused in one kind only: a pending investigation is the very point of an advisory
  record, a settlement may be mentioned anywhere but in a civil judgment;
- whatever gets past is still a person's to see: before a release somebody reads the record.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from candor_proto.record import RecordKind
from candor_records.refusals import Refusal

_NOT_NAMES = """
    Services Service Advocate Advocates Advocacy Assistance Impact Compensation Unit Bureau Division
    Court Courts Support Protection Protective Interview Interviews Statement Statements Relations
    Program Section Crime Crimes Policy Rights Notification Liaison Coordinator Intimidation Tampering
    Act Center Centre Response Care Fund Justice Detention Hall Welfare Abuse Scouts Scout Misconduct
    Injury Injuries Damage Traffic Officer Officers Sergeant Sgt Lieutenant Captain Chief Deputy Sheriff
    Detective Corporal Trooper Agent Commander Investigator Police Internal Affairs Department City
    County State Office District Attorney Judge Board Monday Tuesday Wednesday Thursday Friday Saturday
    Sunday January February March April May June July August September October November December Black
    White Hispanic Latino Latina Asian African American Native German Belgian Dutch Labrador Ford
    Chevrolet Chevy Dodge Toyota Honda Crown The This That He She It They In On At By After Before When
    While No An And But For His Her Room Street Avenue Code Penal Section General Order
"""
_NAME = r"(?!(?:" + "|".join(_NOT_NAMES.split()) + r")\b)[A-Z][a-zà-ÿ]+(?:['’-][A-Z][a-zà-ÿ]+)?"
_INITIALS = r"[A-Z]\.\s?[A-Z]\b"
_SOMEBODY = rf"(?:{_NAME}|{_INITIALS})"
_CALLED = r"(?:(?i:named|called|by the name of|identified as|whose name (?:is|was)))"
_WARNING = r"(?:garrity|lybarger|kalkines)"
_STATEMENT = r"(?:statements?|interviews?|testimony|answers?|interrogations?|disclosures?)"
_OWN = r"(?:his|her|their|the officer[’']?s|officer[’']s|employee[’']s)"
_CHILD = (
    r"(?i:juvenile|minor child|child|girl|boy|teen(?:ager)?|student|youth|(?:step)?daughter|(?:step)?son)"
)
_OTHER = r"(?i:victim|witness|complainant|informant)"
_SPOUSE = r"(?i:(?:his|her) (?:ex-)?(?:wife|husband|girlfriend|boyfriend|spouse))"


@dataclass(frozen=True)
class _Pattern:
    """Looked for where one of the `hints` stands in the lower-case text: looking for all costs too much."""

    refusal: Refusal
    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    kinds: frozenset[RecordKind]


_ALL_KINDS = frozenset(RecordKind)
_DECISIONS = _ALL_KINDS - {RecordKind.SEPARATION_UNDER_INVESTIGATION, RecordKind.COMMENDATION}
_JUDGMENTS = frozenset({RecordKind.CIVIL_JUDGMENT})
_CONVICTIONS = frozenset({RecordKind.CRIMINAL_CONVICTION})


def _pattern(
    refusal: Refusal,
    hints: str,
    *alternatives: str,
    kinds: frozenset[RecordKind] = _ALL_KINDS,
    any_case: bool = True,
) -> _Pattern:
    flags = re.I if any_case else re.NOFLAG
    return _Pattern(refusal, tuple(hints.split()), re.compile("|".join(alternatives), flags), kinds)


_PATTERNS = (
    _pattern(
        Refusal.WHOLE_SSN, "0 1 2 3 4 5 6 7 8 9",
        r"(?<![0-9])[0-9]{3}[- ][0-9]{2}[- ][0-9]{4}(?![0-9])",
        r"\b(?:ssn|social security)\D{0,20}[0-9]{9}\b",
    ),
    _pattern(
        Refusal.COMPELLED_STATEMENT, "garrit lybarger kalkines compel threat penalty pain",
        rf"\b{_WARNING}[ -](?:{_STATEMENT}|warnings?|advis\w+|admoni\w+|notices?|rights|protect\w*"
        r"|forms?|cards?|compelled|immunity|waivers?|hearings?|transcripts?)\b",
        rf"\b(?:under|pursuant to|invok\w+|protected by|given|reverse|read) (?:his |her |the )?{_WARNING}\b",
        r"\bgarriti[sz]ed\b",
        rf"\bcompelled (?:internal |administrative |recorded |written |oral |officer )?{_STATEMENT}\b",
        rf"\b{_STATEMENT}(?: \w+){{0,3}} compelled\b",
        r"\bcompelled to (?:answer|testify)\b",
        rf"\bcompelled to (?:give|make|provide|write) (?:an? |his |her )?(?:{_STATEMENT}|account|report)\b",
        r"\b(?:statement|interview|answer|told|admitted|said|account|testi)\w*[^.]{0,60} (?:under|on) "
        r"(?:the )?(?:threat|penalty|pain) of "
        r"(?:discipline|disciplinary|dismissal|termination|discharge|being fired)",
    ),
    _pattern(
        Refusal.MEDICAL,
        "fit ffd diagnos ptsd traumatic bipolar depress anxiety schizo medic psych disab treat rehab patient "
        "anonymous prescribed therap counsel hiv hepatitis genetic suicid detox hospitali taking takes",
        r"\bfitness[- ](?:for|of)[- ]duty\b|\bffde?\b",
        r"\bdiagnos(?:ed|is|es)\b|\b(?:unfit|not fit) for duty by\b",
        r"\b(?:takes|(?:is|was) taking|on) (?:xanax|prozac|zoloft|lexapro|adderall|lithium|valium)\b",
        r"\b(?:ptsd|post-?traumatic stress)(?! (?:awareness|training|course|peer))\b",
        r"\bbipolar disorder\b|\bclinical(?:ly)? depress|\bschizophreni|\banxiety disorder\b",
        r"\bsuffer(?:s|ed|ing)? from (?:severe |chronic |major )?(?:depression|anxiety|addiction"
        r"|alcoholism|stress)\b",
        rf"\b{_OWN} (?:\w+ )?(?:medical|psychiatric|psychological|mental[- ]health) (?:records?|history"
        r"|conditions?|treatment|restrictions?|files?|leave|evaluation|exam\w*|issues?|problems?|limitations?)\b",
        r"\bmedically (?:retired|separated|discharged|unfit)\b",
        r"\bmedical (?:retirement|disability|discharge|restrictions?)\b|\bon (?:\w+ )?medical leave\b",
        r"\bdisability (?:retirement|pension|leave|accommodation|claim|benefits?)\b",
        r"\b(?:treat(?:ed|ments?)|hospitali[sz]ed) for (?:his |her |an? )?(?:\w+ )?(?:alcohol\w*|substance"
        r"|drug(?! overdose)|opioid|depress\w+|anxiety|addict\w+|mental|psych\w+|cancer)\b",
        r"\b(?:alcohol|substance|drug|addiction|opioid)[- ](?:abuse |use |dependency )?(?:treatment(?! court)"
        r"|rehab\w*|counsel\w+|detox\w*)\b|\b(?:alcohol|addiction) recovery\b",
        r"\b(?:inpatient|outpatient|rehab(?:ilitation)?) (?:program|treatment|facility|clinic|care|stay)\b",
        r"\bent(?:er(?:ed|ing)|ry into) (?:an? )?(?:\w+ )?rehab",
        r"\b(?:alcoholics|narcotics) anonymous\b|\bantidepressants?\b|\bpsychotherap|\bin therapy\b",
        r"\b(?:officer|he|she|employee) (?:was|is|had been|has been) (?:prescribed|suicidal)\b",
        rf"\b{_OWN} suicid",
        r"\b(?:underwent|order(?:ed)?|failed|passed|completed|refused|submit(?:ted)?|results?|referred|sent)\b"
        r"(?: \w+){0,5} (?:psychiatric|psychological) (?:evaluation|exam\w*|assessment)",
        r"\b(?:psychiatrist|psychologist|therapist) (?:found|conclud|determin|report|recommend|clear|stat)",
        r"\b(?:seeing|seen by|evaluated by|examined by|treated by|referred to) (?:an? |the )?(?:\w+ )?"
        r"(?:psychiatrist|psychologist|therapist)\b",
        r"\bcounsel+ing for (?:his |her )?(?:alcohol|drug|anger|depress|anxiety|addict|gambling|stress)",
        r"\bhiv[- ]positive\b|\bhepatitis [abc]\b|\bgenetic (?:test|information)",
    ),
    _pattern(
        Refusal.JUVENILE, "juvenile minor child girl boy teen student youth daughter son year-old",
        rf"\b(?:{_CHILD}|(?i:minor)),? (?:\w+ )?{_CALLED} {_SOMEBODY}",
        rf"\b{_CHILD}(?: victim)?,? {_NAME} {_SOMEBODY}",
        rf"\b(?:{_CHILD}|(?i:minor))(?: victim)?,? \(?{_INITIALS}",
        rf"\b{_CHILD}[’']s (?:mother|father|parent|guardian|sister|brother),? {_NAME} {_SOMEBODY}",
        rf"\b(?:[1-9]|1[0-7])[- ]year[- ]old,? (?:[a-z]+,? ){{1,2}}(?:{_CALLED} )?{_SOMEBODY}",
        rf"\b(?:[1-9]|1[0-7])[- ]year[- ]old,? {_NAME} {_NAME}",
        rf"\b(?:{_CHILD}|(?i:minor))[’']s (?i:name|initials|address|school) (?:is|was) (?:{_SOMEBODY}|[0-9])",
        any_case=False,
    ),
    _pattern(
        Refusal.VICTIM_OR_WITNESS,
        "victim witness complainant informant wife husband girlfriend boyfriend spouse woman",
        rf"\b{_OTHER}s? {_SOMEBODY}",
        rf"\b{_OTHER}e?s?,? (?:\w+ )?{_CALLED} {_SOMEBODY}",
        rf"\b{_OTHER}, (?:{_NAME}|[A-Z]\.|Ms\.?|Mr\.?|Mrs\.?) {_SOMEBODY}[,.]",
        rf"\b(?i:witness statements? (?:by|of|from)) {_NAME} {_SOMEBODY}",
        rf"\b{_OTHER}[’']?s? (?i:name|address|home address|phone number) (?:is|was) (?:{_SOMEBODY}|[0-9])",
        rf"\b{_OTHER}[^.]{{0,60}} (?i:lives|lived|resides|resided|living|residing) (?i:at|on) [0-9]",
        rf"\b(?i:woman|man|{_SPOUSE}),? (?i:named|identified as) {_SOMEBODY}",
        rf"\b{_SPOUSE},? {_SOMEBODY}",
        any_case=False,
    ),
    _pattern(
        Refusal.CRIMINAL_HISTORY, "ncic iii ngi fbi rap criminal ucn",
        r"\b(?:according to|per|based on|source:?|as shown (?:by|in)|(?:verified|confirmed) (?:by|in|with)) "
        r"(?:an? |the |his |her )?(?:ncic|iii|ngi|interstate identification"
        r"|fbi (?:record|identification|criminal)|criminal[- ]history|rap[- ]sheet)\b"
        r"(?! (?:polic|rule|user|audit))",
        r"\b(?:ncic|ngi|criminal[- ]history|fbi)(?: (?:check|query|record|report|printout|return|response"
        r"|search|inquiry|hit))?s? (?:show|reveal|indicat|list|confirm)(?:e?s|e?d)\b",
        r"\biii (?:check|query|record|report|printout|return|response|search|inquiry|hit)s?\b",
        rf"\b{_OWN} rap[- ]?sheet\b",
        r"\brap[- ]?sheet (?:show|list|reveal|indicat|includ|confirm)",
        r"\bfbi (?:number|no\.?|#)\W{0,3}\w*[0-9]|\bucn\W{1,3}[0-9]",
    ),
    _pattern(
        Refusal.BRADY_LIST, "brady giglio credibility not-call call impeach",
        r"\b(?:brady|giglio)(?:[ /-]giglio)?[ /-](?:list(?:s|ed)?|letters?|impair\w*|issues?|designat\w+"
        r"|database|index|officers?|status|cop)\b",
        r"\bgiglio['’]?d\b|\bplaced on (?:the |a )?brady\b",
        r"\b(?:credibility|do[- ]not[- ]call|do[- ]not[- ]testify|exclusion|impeachment) list\b",
    ),
    _pattern(
        Refusal.ALLEGATION_ONLY,
        "allegation complaint charge accus finding investigation alleged suspected decision",
        r"\b(?:allegations?|complaints?|charges?|accusations?)[^.;]{0,40} (?:is|are|remains?) "
        r"(?:still |now )?(?:pending|unproven|unsubstantiated|unresolved"
        r"|under (?:review|investigation)|not yet)\b",
        r"\b(?:allegations?|complaints?|charges?|accusations?)[^.;]{0,40} (?:is|are|was|were) (?:not |never )"
        r"(?:sustained|substantiated|proven)\b",
        r"\bno (?:finding|decision|determination) (?:has been|was|is) (?:yet )?(?:made|reached|issued)\b",
        r"\binvestigation (?:is|remains) (?:still )?(?:open|pending|ongoing|under ?way|active)\b",
        r"\b(?:is|are) (?:merely |only )?(?:suspected|accused) of\b|\bit is (?:alleged|rumou?red)\b"
        r"|\b(?:is|are) (?:also )?alleged to\b",
        kinds=_DECISIONS,
    ),
    _pattern(
        Refusal.SETTLEMENT, "settle admission consent stipulated",
        r"\b(?:case|claims?|suit|lawsuit|matter|parties|city|county|was|were|been) settled\b",
        r"\bsettlement (?:agreement|of|for|in|was|without)\b",
        r"\bwithout (?:any )?(?:an )?admission of (?:liability|fault|wrongdoing)\b",
        r"\bconsent (?:decree|judge?ment)\b|\bstipulated (?:judge?ment|dismissal)\b",
        kinds=_JUDGMENTS,
    ),
    _pattern(
        Refusal.NOT_A_CONVICTION,
        "deferred adjudication nolle charge case diversion intervention acquitted not probation finding",
        r"\bdeferred (?:adjudication|prosecution|disposition|judge?ment|sentenc\w+|entry)\b",
        r"\badjudication (?:was |is )?(?:withheld|deferred|stayed)\b|\bstay of adjudication\b|\bnolle pros",
        r"\bthe (?:charges?|case) (?:was|were) (?:later )?(?:dismissed|dropped|withdrawn)\b",
        r"\bpre-?trial (?:diversion|intervention)\b|\bdiversion(?:ary)? (?:program|agreement)\b",
        r"\b(?:found(?: him| her| the officer)?|verdict of) not guilty\b",
        r"\bwas acquitted(?! of (?:the other|one|two|count))\b",
        r"\bprobation before judge?ment\b|\bcontinued without a finding\b",
        kinds=_CONVICTIONS,
    ),
)  # fmt: skip


def in_text(text: str, kind: RecordKind | None = None) -> tuple[Refusal, ...]:
    """What `text` may not hold, each refusal once; `kind` adds what is refused in that kind only."""
    line = " ".join(text.split())
    lower = line.lower()
    return tuple(
        one.refusal
        for one in _PATTERNS
        if (one.kinds is _ALL_KINDS or kind in one.kinds)
        and any(hint in lower for hint in one.hints)
        and one.pattern.search(line)
    )
