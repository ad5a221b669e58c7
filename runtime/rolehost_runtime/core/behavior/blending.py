"""What the model is told of the nodes that are current."""

from collections.abc import Mapping, Sequence

from rolehost_runtime.core.behavior.graph import Graph
from rolehost_runtime.core.behavior.place import Place


def told(graph: Graph, places: Mapping[str, Place]) -> str:
    """The prompts of the current nodes as one text; empty where none of them has one.

    A single prompt is told as it stands. Of several each is told with its share, in percent: the weight of its subgraph
    among those that have something to say now.
    """
    said: list[tuple[float, str]] = []
    for walk in graph.walks:
        place = places.get(walk.name)
        name = walk.initial if place is None else place.node
        node, change = walk.nodes.get(name), None if place is None else place.nodes.get(name)
        prompt = node.prompt if node is not None else (change.prompt or "") if change is not None else ""
        if prompt:
            said.append((walk.share, prompt))
    if len(said) < 2:
        return said[0][1] if said else ""
    shares = percents([share for share, _ in said])
    return "\n\n".join(f"({share} %) {prompt}" for share, (_, prompt) in zip(shares, said, strict=True) if share)


def percents(weights: Sequence[float]) -> list[int]:
    """Whole shares that make 100 together; what rounding leaves over goes to the largest remainders, the first before
    the later. All alike where nothing weighs anything.

    >>> percents([0.7, 0.3]), percents([1, 1, 1]), percents([0, 0]), percents([2, 0])
    ([70, 30], [34, 33, 33], [50, 50], [100, 0])
    """
    total = sum(weights)
    exact = [100 * weight / total if total else 100 / len(weights) for weight in weights]
    whole = [int(share) for share in exact]
    order = sorted(range(len(exact)), key=lambda place: (whole[place] - exact[place], place))
    for place in order[: 100 - sum(whole)]:
        whole[place] += 1
    return whole
