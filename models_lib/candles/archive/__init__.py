"""The archive of candles: what an exchange said about each minute, once, in order, with its holes known.

`page` is a checked answer, `journal` keeps pages until they are settled, `merge` says what counts where two pages differ,
`holes` names the missing minutes, `months` are the files of bars, `manifest` is the one record that names them, `places`
are where both lie, `archive` reads and writes all of it.

What does not belong here: what an exchange is asked and when (fetching.py), whether candles may be used (checks.py), and
the filling of minutes without trades, which happens when reading for a training and never in the archive.
"""
