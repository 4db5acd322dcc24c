"""The honest account of a model: metrics, the rules it must beat, intervals, drift, and the gates that judge it.

`evaluation` measures on the test rows, `gates` judges; nothing here trains, saves or promotes.
"""
