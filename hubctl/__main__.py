"""`python -m hubctl`."""

from hubctl.cli import main

main()
