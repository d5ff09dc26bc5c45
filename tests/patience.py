"""How long a test waits for what must happen.

Nobody waits that long on a machine in working order; one that is thirty times slower has the time it needs,
and what never comes still ends in an error that says where. A promised duration is another matter: it is
asserted on a clock that the test sets, or of the settings that it follows from.
"""

PATIENCE_SECONDS = 300.0
