"""From a question to snippets inside a budget. Knows nothing of crawling.

    embed the question ‖ BM25 → fuse by rank → only what the catalog lists → same text once → cap per page
    → load the text of the winners → snippets inside the character budget

`fusion` and `snippets` are pure functions over ids, ranks and lengths; `search` does the I/O around them.
"""
