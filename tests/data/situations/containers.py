"""Dictionaries, lists and their like of other classes."""

import collections

import torch
from __main__ import Dictionary, Pair, TensorList

from .tools import check, counted, dumped, joined, legacy, situation, state, taken


@situation("defaultdict.pth")
def defaultdict():
    content = collections.defaultdict(dict)
    content["a"]["W"], content["a"]["D"] = state()["a.W"], state()["a.D"]
    return content, check(taken({name: state()[name] for name in ("a.W", "a.D")}))


@situation("defaultdict_of_list.pth", legacy)
def defaultdict_of_list():
    content = collections.defaultdict(list, a=[counted(2), counted(3)])
    return content, check(taken({"a.0": counted(2), "a.1": counted(3)}))


@situation("dictionary_of_another_class.pth")
def dictionary_of_another_class():
    return Dictionary(state()), check(taken(state()))


@situation("dictionary_with_attributes.pth")
def dictionary_with_attributes():
    content = Dictionary(state())
    content.version, content.cached = 2, counted(3)
    return content, check(taken(state()))


@situation("counter.pth")
def counter():
    content = {**state(), "seen": collections.Counter(cat=3, dog=4)}
    return content, check(taken(state(), passed_over=["seen"]))


TWO = {"0": counted(2), "1": counted(3)}


@situation("list.pth")
def plain_list():
    return list(TWO.values()), check(taken(TWO))


@situation("list.pkl", dumped(4))
def dumped_list():
    return list(TWO.values()), check(taken(TWO))


@situation("tuple_legacy.pth", legacy)
def plain_tuple():
    return tuple(TWO.values()), check(taken(TWO))


@situation("deque.pth")
def deque():
    content = {"recent": collections.deque(TWO.values(), maxlen=5)}
    return content, check(taken(joined(recent=TWO)))


@situation("list_of_another_class.pth")
def list_of_another_class():
    return TensorList(TWO.values()), check(taken(TWO))


@situation("named_tuple.pth")
def named_tuple():
    """A call of a class like any other, which may or may not be seen through."""
    by_index = {f"pair.{index}": tensor for index, tensor in TWO.items()}
    by_field = {"pair.first": TWO["0"], "pair.second": TWO["1"]}
    others = [taken({**state(), **pair}) for pair in (by_index, by_field)]
    return {**state(), "pair": Pair(*TWO.values())}, check(taken(state(), passed_over=["pair"]), *others)


@situation("list_of_state_dicts.pth")
def list_of_state_dicts():
    """As cross-validation leaves them."""
    folds = [state(), state(start=20)]
    return (folds, check(taken(joined(**{"0": folds[0], "1": folds[1]}))),
            check(taken(folds[1], key="1", passed_over=["0"]), key="1"))


@situation("integer_keys.pth")
def integer_keys():
    content = {0: counted(2), -1: counted(3), 2**70: counted(1)}
    return content, check(taken({str(key): tensor for key, tensor in content.items()}))


@situation("other_keys.pth")
def other_keys():
    keys = [1.5, True, None, (1, 2), b"x"]
    content = state() | {key: counted(2, start=index) for index, key in enumerate(keys)}
    return content, check(taken(state(), passed_over=[repr(key) for key in keys]))


@situation("empty_containers.pth")
def empty_containers():
    content = {**state(), "none": {}, "nothing": [], "void": (), "open": collections.OrderedDict()}
    return content, check(taken(state(), passed_over=["none", "nothing", "void", "open"]), taken(state()))


@situation("deep.pth")
def deep():
    content = tensors = {}
    for _ in range(60):
        tensors["x"] = {}
        tensors = tensors["x"]
    tensors["y"], tensors["z"] = counted(2), counted(3)
    names = {f"{'x.' * 60}{end}": tensor for end, tensor in tensors.items()}
    return content, check(taken(names), taken(dict(tensors), key=".".join(["x"] * 60)))


@situation("torch_size_and_parts.pth")
def sizes_between():
    content = {"a": {"W": state()["a.W"], "shape": torch.Size([2, 1, 4]), "D": state()["a.D"]}}
    return content, check(taken({name: state()[name] for name in ("a.W", "a.D")}, passed_over=["a.shape"]), key=".")
