"""The vectors of the protocol: tests/vectors/protocol/*.json (README.md there says what they are for).

Rules of this package:
- a module for each noun of docs/protocol.md; it holds the operations (what a reader of the text must be able
  to do) and the book of cases about them;
- what is expected is computed by the production code, never written by hand; what must be refused is named
  by hand with its code, and making the file fails if the production code does anything else;
- every random value is drawn from a name (`draws`), so that the files are the same each time. What cannot be
  made again (HPKE, ML-DSA-44) is taken from the file that is there, as long as it still verifies.
"""
