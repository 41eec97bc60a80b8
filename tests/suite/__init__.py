"""What `python3 -m tests` is made of. Only the standard library is imported here: nothing is installed yet.

interpreters   which Pythons this machine has, and which of them are tested
environments   one virtual environment for each, and what is installed there
stages         lint, types, wheel and suite: what is run, and what counts as a failure
command        the command line, the order of things and the summary
"""
