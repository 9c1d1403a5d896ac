"""Averages of the weights beside the weights, or alone."""

import datetime

import torch
from __main__ import Net

from .tools import check, counted, joined, layer, momenta, net_state, refused, situation, state, taken


@situation("model_and_ema.pth")
def model_and_ema():
    content = {"model": state(), "ema": state(start=20), "optimizer": momenta(), "step": 5}
    beside = ["optimizer", "step"]
    return (content, check(refused("Ambiguous", "model", "ema")),
            check(taken(state(), key="model", passed_over=["ema", *beside]), key="model"),
            check(taken(state(start=20), key="ema", passed_over=["model", *beside]), key="ema"))


@situation("equal_but_not_the_same.pth")
def equal_but_not_the_same():
    """Two objects of equal numbers: nothing says which is meant, and to compare all of them is to read the file."""
    return {"model": state(), "model_ema": state(), "epoch": 0}, check(refused("Ambiguous", "model", "model_ema"))


@situation("params_and_params_ema.pth")
def params_and_params_ema():
    content = {"params": state(), "params_ema": state(start=20)}
    return (content, check(refused("Ambiguous", "params", "params_ema")),
            check(taken(state(start=20), key="params_ema", passed_over=["params"]), key="params_ema"))


@situation("only_params_ema.pth")
def only_params_ema():
    return {"params_ema": state()}, check(taken(state(), key="params_ema"))


def yolo(model, ema):
    return {"epoch": -1, "best_fitness": 0.5, "model": model, "ema": ema, "updates": 5, "optimizer": None,
            "opt": {"lr0": 0.01, "imgsz": 640}, "git": {"branch": None},
            "date": datetime.datetime(2024, 5, 1).isoformat()}


@situation("yolo_in_training.pt")
def yolo_in_training():
    """Whole modules of half precision."""
    half = torch.float16
    content = yolo(Net(layer()).half(), Net(layer(start=20)).half()) | {"optimizer": momenta()}
    beside = [key for key in content if key not in ("model", "ema")]
    return (content, check(refused("Ambiguous", "model", "ema")),
            check(taken(net_state(start=20, dtype=half), key="ema", passed_over=["model", *beside]), key="ema"))


@situation("yolo_finished.pt")
def yolo_finished():
    content = yolo(Net(layer()).half(), None)
    return content, check(taken(net_state(dtype=torch.float16), key="model",
                                passed_over=[key for key in content if key != "model"]))


@situation("shadow_params.pth")
def shadow_params():
    """torch_ema's: a list, by the order of the net's parameters."""
    content = {"decay": 0.999, "num_updates": 5, "shadow_params": [counted(2), counted(3)], "collected_params": None}
    names = joined(shadow_params={"0": counted(2), "1": counted(3)})
    return content, check(taken(names, passed_over=["decay", "num_updates", "collected_params"]), key=".")


@situation("shadow_params_in_training.pth")
def shadow_params_in_training():
    average = {"decay": 0.999, "num_updates": 5, "shadow_params": [counted(2, 1, 4, start=20)]}
    content = {"model": state(), "ema": average, "optimizer": momenta(), "step": 5}
    return content, check(taken(state(), key="model", passed_over=["ema", "optimizer", "step"]), key="model")


@situation("ema_flat.pt")
def ema_flat():
    """ema_pytorch's: both nets in one state dict."""
    content = {**state("online_model.a", "ema_model.a"), "initted": torch.tensor(True), "step": torch.tensor(5)}
    return content, check(taken(content)), check(
        taken({name.removeprefix("ema_model."): tensor for name, tensor in content.items()}, prefix="ema_model."),
        strip_prefix="ema_model.")
