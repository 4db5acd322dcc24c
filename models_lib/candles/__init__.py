"""Candles: where they come from, what they must satisfy, and what a simulated market is made of.

`schema` says what a frame is, `checks` which frames are refused, `fill` closes minutes without trades, `sources` fetches,
`folder` judges a whole folder, `bars` are candles as arrays, `archive` keeps what an exchange answered, `simulated` and
`planted` are the embedded market, `facts` measures how real it looks.

What does not belong here: features, labels and anything that reads the network.
"""
