"""From a question to snippets inside a budget. Knows nothing of crawling.

    words of the question, each weighed by how rare it is
    → vectors ‖ BM25 ‖ names that pages explain     the three searches, 200 chunks each at most
    → only what the catalog lists
    → score                                         absolute; under a floor there is no answer
    → choose                                        cap per page, pages before passages in short lists, widen
    → load the texts → fold those that say the same → snippets inside the character budget

`scoring`, `fusion` and `snippets` are pure functions over what was found; `search` does the I/O around them.
"""
