"""`python -m candor_verify`, for whoever runs the verifier from its sources."""

from candor_verify.cli import main

if __name__ == "__main__":
    main()
