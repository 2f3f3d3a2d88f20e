"""Checks claims of the alpha-CL paper numerically, each in a script of its own."""
