"""The page that a person reads before trusting a model, and the words that a run ends with.

`inputs` says what must be known, `answers` turns it into plain questions and answers, `plots` and `timeline` draw,
`writer` renders the page, `pieces` makes what the Prefect UI shows of the same symbol. `summary` and `summary_table` make
the lines and the tables of a whole run and need no drawing library, so that a command line can import them alone.
`changed_settings` is what they say about gates and figures that are not the shipped ones.

What does not belong here: measuring. Every number on the page was measured elsewhere, on the model that was saved and
read back; what was not measured is shown as such, never filled in.
"""
