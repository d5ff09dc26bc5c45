"""Sentences that a narrative may not hold, and ordinary ones that it may (RECORDS.md §3.2, §7.2).

No name here is anybody's. A sentence stands under the refusal that it must meet, and under a kind, which may
decide it. The ordinary ones are such as chiefs, boards and courts write, with the words that trap a careless
pattern.
"""

from __future__ import annotations

from candor_proto.record import RecordKind
from candor_records.refusals import Refusal

TERMINATION = RecordKind.TERMINATION_FOR_CAUSE
ADVISORY = RecordKind.SEPARATION_UNDER_INVESTIGATION
CONVICTION = RecordKind.CRIMINAL_CONVICTION
JUDGMENT = RecordKind.CIVIL_JUDGMENT
FORCE = RecordKind.SUSTAINED_FORCE_FINDING


def _each(kind: RecordKind, refusal: Refusal, text: str) -> list[tuple[RecordKind, Refusal, str]]:
    return [(kind, refusal, line.strip()) for line in text.strip().splitlines()]


REFUSED = [
    *_each(
        TERMINATION,
        Refusal.COMPELLED_STATEMENT,
        """
        See the Garrity statement of May.
        In his Garrity interview he said that he had been asleep.
        He was given Garrity and then described the whole night.
        Under Garrity the officer conceded the blow.
        A compelled statement was taken on 3 May.
        The compelled administrative interview shows that she knew.
        The statement was later compelled by the chief.
        He was compelled to answer and told how it happened.
        She was compelled to give a statement about the stop.
        He told investigators under threat of termination that he had lied.
        After the Lybarger admonishment the officer admitted the search.
        The Garrity-protected answers match the video.
        A reverse Garrity was read before the questions.
        During his Garrity-compelled interview the officer conceded the conduct.
        In a statement made under Garrity, the officer acknowledged the act.
        After being ordered to answer under penalty of dismissal, he stated that he took the money.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.MEDICAL,
        """
        The officer failed a fitness-for-duty examination.
        A fitness for duty evaluation was ordered in March.
        The FFDE found him unable to carry a weapon.
        He was diagnosed with a sleep disorder.
        She has PTSD after the shooting.
        The officer suffers from depression.
        His medical records were reviewed by the board.
        Her psychological evaluation was shared with the chief.
        He was treated for alcohol dependency in 2020.
        The officer entered a rehab program before the hearing.
        Dismissed while in outpatient treatment.
        He attends Alcoholics Anonymous.
        The officer was medically retired.
        She received a disability pension.
        The officer underwent a court-ordered psychiatric evaluation.
        The psychologist found that he could not control his temper.
        He was on extended medical leave when the decision was made.
        The officer was prescribed opioids for his back.
        Substance abuse treatment was a condition of the agreement.
        Counseling for anger was ordered by the department.
        The officer was hospitalized for depression and missed his hearing.
        Officer has been seeing a department psychologist since 2019.
        The employee's therapist cleared him to return.
        Officer completed a 28-day inpatient program.
        He was found not fit for duty by the city physician.
        She takes Xanax for anxiety.
        Officer is HIV positive.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.JUVENILE,
        """
        He struck a 15-year-old boy, Kevin Testerling, in the cell.
        The juvenile, Maria Placeholderson, was held for nine hours.
        He sent messages to a girl named Anna.
        The minor child J.D. was in the car.
        The student Tobias Sampleton filmed it.
        A 14-year-old girl named Lena was searched.
        The juvenile's name is Marcus.
        He handcuffed juvenile K.L. to a bench.
        The teenager, identified as Paulina, was released.
        The boy's mother, Jane Sampleton, filed a complaint.
        16-year-old Jamal Testerling was shot with a beanbag round.
        The minor victim (T.S.) was interviewed.
        A 9 year old girl, Emma Testerling, saw it.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.VICTIM_OR_WITNESS,
        """
        The victim, Jane Placeholderson, needed stitches.
        Victim Smith was followed home.
        He threatened the witness John Q. Sampleton.
        The complainant, identified as Rosa, withdrew nothing.
        The victim lives at 12 Elm Street.
        The witness's address is 44 Harbor Road.
        He pushed his wife, Melinda, down the stairs.
        He followed a woman named Clara to her home.
        He offered money to witness T. R. in the parking lot.
        He stalked his ex-girlfriend Tamsin for a month.
        Victim Maria Sampleton reported the assault.
        The victim, M. Sampleton, reported it.
        The complainant, Ms. Sampleton, met with the lieutenant.
        Witness statements by John Sampleton and Ann Testerling contradict him.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.CRIMINAL_HISTORY,
        """
        According to NCIC he has two prior convictions.
        His rap sheet lists a theft in 2009.
        A III check was run on the officer and attached.
        The criminal history report shows an arrest for battery.
        FBI number 123456AB7 was on the card.
        Based on an NCIC printout the officer has a warrant.
        The NGI response indicated a prior arrest.
        Prior conviction confirmed by III.
        NCIC shows a conviction in Nevada.
        His criminal record per NCIC includes a DUI.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.BRADY_LIST,
        """
        The officer is on the Brady list of the county.
        A Giglio letter was issued in June.
        The prosecutor considers him Giglio-impaired.
        Placed on a Brady/Giglio database by the district attorney.
        He was Giglio'd after the hearing.
        The prosecutor put her on the do-not-call list.
        Brady-listed since 2018 by the county attorney.
        Listed in the prosecutor's Giglio database.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.WHOLE_SSN,
        """
        His number is 123-45-6789.
        SSN: 123456789 as given on the form.
        Social security number 078 05 1120.
        SSN 123 45 6789.
        """,
    ),
    *_each(
        TERMINATION,
        Refusal.ALLEGATION_ONLY,
        """
        Further allegations of theft are pending.
        A second complaint is under review.
        One of three allegations was not sustained.
        It is alleged that he also sold equipment.
        A criminal investigation is ongoing.
        No finding has been made as to the second incident.
        He is suspected of a further burglary.
        An additional allegation of theft remains under investigation.
        Two other complaints against the officer are pending.
        The charge of perjury was not sustained.
        He is alleged to have taken a bribe as well.
        """,
    ),
    *_each(
        JUDGMENT,
        Refusal.SETTLEMENT,
        """
        The case was settled for $125,000.
        A settlement agreement was signed in June.
        The city paid without admission of liability.
        A consent decree was entered.
        The parties settled on the second day of trial.
        """,
    ),
    *_each(
        CONVICTION,
        Refusal.NOT_A_CONVICTION,
        """
        The court ordered deferred adjudication for two years.
        Adjudication was withheld.
        The state entered a nolle prosequi.
        The charges were dismissed in October.
        He completed a pretrial diversion program.
        The jury found him not guilty.
        The case was continued without a finding.
        Probation before judgment was granted.
        """,
    ),
]

ORDINARY = [
    *[
        (kind, line.strip())
        for kind, text in (
            (
                TERMINATION,
                """
                Falsified two overtime reports; sustained after a hearing.
                Employment ended after a sustained finding.
                The officer administered first aid too late.
                Two persons had minor injuries.
                A minor policy violation was aggravated by the lie that followed.
                He left his post at the juvenile court building.
                The officer worked in the Juvenile Division from 2015 to 2019.
                Ran NCIC queries on a former partner without a lawful purpose.
                Used the criminal history database for personal reasons.
                Disclosed information obtained from NCIC to a relative.
                An NCIC audit showed sixty-nine queries without a case number.
                He printed a rap sheet and gave it to a private investigator.
                Failed to disclose Brady material to the prosecutor.
                A Brady violation led to a new trial.
                Sergeant Brady testified before the board.
                Officer Garrity was dismissed for sleeping on duty.
                Refused to answer questions of the internal affairs unit.
                Refused a lawful order to submit a report.
                He compelled a motorist to leave the car without cause.
                He compelled a driver to pay him forty dollars.
                Signed the resignation under threat of termination.
                Reported for roll call under the influence of alcohol.
                Tested positive for a controlled substance.
                Stole prescription medication from the evidence room.
                Stole pills that had been seized during a drug recovery operation.
                Failed to obtain medical treatment for a prisoner.
                Refused to call an ambulance for a person in medical distress.
                Delayed medical aid by eleven minutes.
                Used force on a person in a mental health crisis.
                Left a mental health call before the crisis team arrived.
                The suspect was treated for minor injuries at the scene.
                He failed to take a suicidal person to the hospital.
                Abused sick leave on nine occasions.
                He lied about a doctor's appointment.
                Drove a patrol car at 110 miles an hour without emergency lights.
                Revealed a victim's identity to a newspaper.
                The victim was not notified of the hearing.
                The witness was told to delete the video.
                Intimidated a witness before trial.
                He tampered with the statement of a witness.
                Victim Services complained about his conduct.
                The victim advocate was turned away.
                Failed to interview the witness Monday as ordered.
                Child Protective Services was not called.
                He left a child alone in the patrol car.
                He had contact with a juvenile that violated policy.
                Searched a 15-year-old without cause.
                He struck a 16-year-old boy with a baton.
                He lost a 4-year-old Belgian Malinois from the kennel.
                Drove a 10-year-old Ford without inspection.
                Sent explicit messages to a student of the academy.
                Pushed his wife down the stairs.
                He used his girlfriend's phone to threaten a neighbor.
                The complaint was sustained after an investigation of nine months.
                Both allegations were sustained.
                Three allegations of dishonesty were sustained by the trial board.
                He lied during an ongoing criminal investigation.
                Leaked details of an open investigation.
                It was alleged that he struck the prisoner; the board sustained it.
                The officer declined a settlement of the grievance.
                The termination was upheld in arbitration on 2021-06-07.
                Case number 123-456-789, docket 21-44-0912.
                Report 2021-45-6789 was altered.
                Called in to the station at 555-0142.
                The prosecutor called him as a witness in the trial.
                The officer's credibility was doubted by the board.
                Chief Testerling III signed the order.
                He told the complainant that the report was lost.
                The officer's grievance was denied.
                Counsel for the officer was present.
                On March 3 the officer discharged his weapon at a fleeing vehicle against orders.
                Officer responded to a domestic disturbance and failed to separate the parties.
                Board found by a preponderance that the officer used profane language toward a citizen.
                The officer failed to activate his body-worn camera on four calls.
                Failed to render medical aid after deploying a Taser.
                Subject sustained a broken arm during the arrest.
                The suspect's mother filed a complaint that was sustained.
                Deputy conducted a pursuit at speeds that endangered the public.
                Officer had sexual relations with a confidential informant.
                Officer accessed DAVID and NCIC for personal use on 17 occasions.
                He queried his ex-wife's license plate in the state database.
                She left a loaded firearm in a public restroom.
                Officer was found to have provided false testimony at a suppression hearing.
                The officer failed to provide discovery, including Brady material, to the State Attorney.
                Excessive use of sick time and failure to provide a doctor's note.
                Officer refused to take a breath test.
                Arrested for driving under the influence; convicted; terminated after hearing.
                The internal affairs investigation was completed on 4 April and sustained two charges.
                Officer lied to investigators during the administrative interview.
                The officer was untruthful in her interview with internal affairs.
                Officer was placed on administrative leave pending the outcome and terminated on 2 June.
                Officer pointed a firearm at a juvenile without justification.
                Failed to read Miranda rights to a juvenile suspect.
                Officer allowed a minor to ride in the patrol vehicle.
                The officer struck a handcuffed prisoner in the face.
                He made derogatory remarks about a complainant's religion.
                Violated policy 340.3.5 by failing to report a use of force.
                Officer discussed an active investigation with a reporter.
                Was in possession of steroids.
                Consumed alcohol while in uniform and on duty.
                Slept in the patrol car while assigned to guard duty at the psychiatric ward.
                Failed to secure a suspect who was under a mental health hold.
                Failed to follow up on an assault report and told the victim it was her fault.
                The officer contacted the victim of a closed case by text message.
                Officer disclosed the name of a confidential witness to a defendant.
                Improper search of a female motorist.
                The officer stole cash from a deceased person's home.
                The sergeant failed to supervise a rookie in the use of a neck hold.
                Officer's charges were upheld by the Civil Service Commission.
                The arbitrator reduced the suspension to ten days.
                Officer resigned in lieu of termination.
                Following a Loudermill hearing the chief ordered dismissal.
                The officer was given a pre-disciplinary hearing with counsel and union representation.
                Officer violated a protective order that his wife had obtained.
                Domestic battery against his girlfriend; conviction followed.
                He struck his son with a belt; the court found him guilty.
                The officer neglected to feed a K9 in his care.
                Officer recorded a prisoner in a state of undress and shared the video.
                Failed drug test (cocaine) on random screening.
                Officer misled a therapist at the jail about an inmate's housing.
                Officer took money from the Police Athletic League's account.
                Falsified training records of the academy.
                He used the department's credit card to buy fuel for his private car.
                Officer made 31 calls to a woman he had stopped for speeding.
                Told dispatch that he was on a call at Victory Lane while at home.
                Officer ignored a witness who offered video of the incident.
                The District Attorney declined to prosecute; the department sustained the policy violation.
                He posted racist comments under the name "Blue Line".
                """,
            ),
            (
                ADVISORY,
                """
                The officer left while an investigation was open; no finding was made.
                Resigned while the investigation is pending.
                The allegations are unresolved; the investigation remains open.
                """,
            ),
            (
                JUDGMENT,
                """
                A court entered judgment after trial.
                The jury awarded damages after the city refused to settle.
                Liability under 42 USC 1983 was found after a bench trial.
                """,
            ),
            (
                CONVICTION,
                """
                A court entered a judgment of conviction.
                He pleaded not guilty and was convicted by a jury.
                Pleaded guilty; sentenced to 24 months of probation.
                Two other charges were dismissed under the plea agreement.
                The sentence was suspended on condition of community service.
                """,
            ),
            (
                FORCE,
                """
                A use-of-force review sustained the finding.
                A neck restraint was used on a person who did not resist.
                The person hurt needed hospital care; the board found the force unreasonable.
                """,
            ),
            (
                RecordKind.COMMENDATION,
                """
                Pulled a driver from a burning car.
                Talked a suicidal person down from a bridge.
                Completed PTSD awareness training and taught it to recruits.
                Worked with a psychologist on the crisis intervention course.
                Found a missing child within two hours.
                """,
            ),
        )
        for line in text.strip().splitlines()
    ]
]
