"""How often words stand in the chunks of each docset, by which a question's telling words are told from its common ones.

Owned by the shelf, which counts what is added and what is taken off at once, and everything once when it is opened.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping


class Vocabulary:
    """Counts of words, and of chunks, by docset."""

    def __init__(self) -> None:
        self._words: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._chunks: Counter[str] = Counter()

    def count(self, docset_id: str, words: str) -> None:
        """Count the words, set apart by blanks, of a chunk."""
        self._words[docset_id].update(words.split(" "))
        self._chunks[docset_id] += 1

    def uncount(self, docset_id: str, words: str) -> None:
        """A chunk with these words was taken off."""
        if docset_id in self._chunks:
            self._words[docset_id].subtract(words.split(" "))
            self._chunks[docset_id] -= 1

    def forget(self, docset_id: str) -> None:
        """A docset was deleted."""
        self._words.pop(docset_id, None)
        self._chunks.pop(docset_id, None)

    def times(self, words: Collection[str], docset_ids: Collection[str] | None) -> tuple[Mapping[str, int], int]:
        """How often each word stands in these docsets, and how many chunks they have. None: in all docsets."""
        within = [id_ for id_ in dict.fromkeys(self._chunks if docset_ids is None else docset_ids) if id_ in self._chunks]
        return {word: sum(self._words[id_][word] for id_ in within) for word in words}, sum(self._chunks[id_] for id_ in within)
