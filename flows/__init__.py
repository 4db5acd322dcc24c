"""The order of the steps and what happens when one fails; and the command line."""
