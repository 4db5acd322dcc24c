"""The runtime on the trading host: from closed bars to signals, and to what became of them.

It needs no Prefect, no boto3, no scikit-learn and no torch; its entry point (flows/runtime_cli.py) hands it the candle
source and the channels.

What does not belong here: what a signal is and how it is sized (models_lib.signals), and deployments (models_lib.host).
"""
