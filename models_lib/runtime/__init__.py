"""The runtime: from closed bars to signals, and for every bar without one the reason why.

`bars` keeps the newest bars of a symbol and refuses what is no bar, `serving` predicts the newest one, `decide` refuses or
intends, `explain` says what moved a prediction, `engine` does that for all symbols of a host, `health` tells how it stands.

What does not belong here: where candles come from over a network (tasks.adapters), what a signal says (models_lib.signals),
and how a release got onto the host (models_lib.host).
"""
