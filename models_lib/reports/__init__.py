"""The page that a person reads before trusting a model, and the words that a run ends with.

`inputs` says what must be known, `answers` turns it into plain questions and answers, `plots` and `timeline` draw,
`writer` renders the page. `summary` makes the lines and the table of a whole run and needs no drawing library, so that a
command line can import it alone; `summary_table` makes the rows that the UI shows. `changed_settings` is what both say about gates and figures that are not the shipped ones.

What does not belong here: measuring. Every number on the page was measured elsewhere, on the model that was saved and
read back; what was not measured is shown as such, never filled in.
"""
