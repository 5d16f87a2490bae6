"""Tables of figures, and what is different from an earlier run. Knows results, not how they came about."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.evals.metrics import mean, quantile

Scores = Mapping[str, float]
_NAMED = {"corpus": "corpora", "intent": "intents", "style": "styles"}
# What two runs are compared by; a place more or less further down is not worth a line.
_COMPARED = ("nDCG@5", "Anchor@5", "Answer@2000", "Answer@4000", "Answer@8000")
_NOTICED = 0.005


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its figures: `own` with its corpus alone, `all` with every corpus of the index at once.

    `found` are the URLs of the first five results and `found_all` those among all corpora.
    """

    id: str
    corpus: str
    intent: str
    style: str
    query: str
    own: Scores
    all: Scores
    found: Sequence[str]
    found_all: Sequence[str]
    ms: float
    ms_all: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A prompt without an answer: how many results it got, and which."""

    id: str
    corpus: str
    query: str
    results: int
    found: Sequence[str]
    ms: float

    @property
    def silent(self) -> bool:
        """Whether it was treated as it should be."""
        return self.results == 0


def averages(asked: Sequence[Asked], scores: Callable[[Asked], Scores]) -> dict[str, dict[str, float]]:
    """The mean figures of each group, named as `corpus git`, and of all; with the number of questions as `n`."""
    groups: dict[str, list[Scores]] = defaultdict(list)
    for kind in _NAMED:
        for each in sorted(asked, key=lambda one: str(getattr(one, kind)) if kind != "corpus" else ""):
            groups[f"{kind} {getattr(each, kind)}"].append(scores(each))
    groups["overall"] = [scores(each) for each in asked]
    return {
        name: {"n": float(len(members))} | {column: mean([one[column] for one in members]) for column in members[0]}
        for name, members in groups.items()
        if members
    }


def silence(refused: Sequence[Refused]) -> dict[str, dict[str, float]]:
    """How many prompts without an answer got no result, by corpus and overall."""
    groups: dict[str, list[Refused]] = defaultdict(list)
    for each in refused:
        groups[f"corpus {each.corpus}"].append(each)
    if refused:
        groups["overall"] = list(refused)
    return {
        name: {
            "n": float(len(members)),
            "silent": mean([float(one.silent) for one in members]),
            "results": mean([float(one.results) for one in members]),
        }
        for name, members in groups.items()
    }


def latencies(of: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Milliseconds."""
    return {
        name: {"n": float(len(ms)), "p50 ms": quantile(ms, 0.5), "p95 ms": quantile(ms, 0.95), "max ms": quantile(ms, 1)}
        for name, ms in of.items()
    }


def table(title: str, rows: Mapping[str, Scores]) -> str:
    """The rows under their columns' names, with a blank line between kinds of groups."""
    columns = list(next(iter(rows.values()), {}))
    width = max(map(len, [title, *rows]))
    lines = [f"{title:{width}}  " + "  ".join(f"{column:>6}" for column in columns)]
    kind = ""
    for name, row in rows.items():
        if kind and name.partition(" ")[0] != kind:
            lines.append("")
        kind = name.partition(" ")[0]
        lines.append(f"{name:{width}}  " + "  ".join(_shown(column, row[column]) for column in columns))
    return "\n".join(lines)


def _shown(column: str, value: float) -> str:
    width = max(6, len(column))
    if column == "n" or column.startswith("chars"):
        return f"{value:{width}.0f}"
    return f"{value:{width}.1f}" if "ms" in column else f"{value:{width}.3f}"


def differences(
    before: Mapping[str, Mapping[str, Scores]], now: Mapping[str, Mapping[str, Scores]], queries: Mapping[str, str]
) -> str:
    """What is better and what worse, question by question, of those that both runs asked.

    Both map a question's id to its figures as `own` and as `all`.
    """
    better, worse, mixed, same = list[str](), list[str](), list[str](), 0
    both = [id_ for id_ in now if id_ in before]
    for id_ in both:
        changes = list(_changes(before[id_], now[id_]))
        if not changes:
            same += 1
            continue
        ups = [up for up, _ in changes]
        line = f"  {id_:16} {', '.join(text for _, text in changes)}  “{queries[id_][:70]}”"
        (better if all(ups) else mixed if any(ups) else worse).append(line)
    lines = [f"{len(both)} questions in both runs: {len(better)} better, {len(worse)} worse, {len(mixed)} both, {same} as before"]
    for scope in ("own", "all"):
        for column in _COMPARED:
            pairs = [
                (was[column], new[column]) for was, new in _pairs(before, now, both, scope) if column in was and column in new
            ]
            if pairs:
                old, new_ = mean([pair[0] for pair in pairs]), mean([pair[1] for pair in pairs])
                lines.append(f"  {scope} {column:12} {old:.3f} → {new_:.3f} ({new_ - old:+.3f})")
    for name, group in (("better", better), ("worse", worse), ("better and worse", mixed)):
        lines += ["", f"{name}:", *group] if group else []
    return "\n".join(lines)


def _pairs(
    before: Mapping[str, Mapping[str, Scores]], now: Mapping[str, Mapping[str, Scores]], ids: Sequence[str], scope: str
) -> Iterable[tuple[Scores, Scores]]:
    return ((before[id_][scope], now[id_][scope]) for id_ in ids)


def _changes(before: Mapping[str, Scores], now: Mapping[str, Scores]) -> Iterable[tuple[bool, str]]:
    """Whether each figure that has changed is higher, and how to say it."""
    for scope in ("own", "all"):
        for column in _COMPARED:
            if column in before[scope] and column in now[scope]:
                was, new = before[scope][column], now[scope][column]
                if abs(new - was) >= _NOTICED:
                    yield new > was, f"{'all ' if scope == 'all' else ''}{column} {was:.2f} → {new:.2f}"
