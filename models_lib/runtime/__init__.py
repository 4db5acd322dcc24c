"""What runs on the trading host: from closed bars to signals, and the record of both.

What does not belong here: how a release comes to the host (models_lib.host), and where candles come from (adapters).
"""
