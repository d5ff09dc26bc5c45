from datetime import datetime
from pathlib import Path
from candor_verify.report import Report


def check_vectors(folder: Path, now: datetime, report: Report) -> None:
    pass
