"""Names that all begin alike."""

import torch
from __main__ import Net
from torch.optim.swa_utils import AveragedModel

from .tools import (check, counted, layer, legacy, momenta, net_state, refused, situation, state, taken, tensors_alone)


@situation("data_parallel.pth")
def data_parallel():
    whole = state("module.a")
    return (whole, check(taken(state(), prefix="module.")), check(taken(whole), strip_prefix=""),
            check(taken(state("a"), prefix="module."), strip_prefix="module."),
            check(taken({name[len("module.a."):]: tensor for name, tensor in whole.items()}, prefix="module.a.",
                        layers=[""]), strip_prefix="module.a."),
            check(refused("Config", "strip_prefix", "net."), strip_prefix="net."))


@situation("compiled.pth")
def compiled():
    return state("_orig_mod.a"), check(taken(state(), prefix="_orig_mod."))


@situation("compiled_data_parallel.pth")
def compiled_data_parallel():
    return state("_orig_mod.module.a"), check(taken(state(), prefix="_orig_mod.module."))


@situation("data_parallel_compiled.pth")
def data_parallel_compiled():
    return state("module._orig_mod.a"), check(taken(state(), prefix="module._orig_mod."))


@situation("partly_prefixed.pth")
def partly_prefixed():
    content = state("module.a", "b")
    stripped = state("a", "b")
    return (content, check(taken(content)), check(taken(stripped, prefix="module."), strip_prefix="module."))


@situation("prefix_hides_difference.pth")
def prefix_hides_difference():
    content = state("module.a", "a")
    return content, check(taken(content)), check(refused("Format", "a.W", "module.a.W"), strip_prefix="module.")


@situation("modules.pth")
def module_in_a_word():
    content = state("modules.a", "module_list.b")
    return content, check(taken(content))


@situation("model_prefix_alone.pth")
def model_prefix_alone():
    """A net with a part that is named model: those are its names."""
    content = state("model.a")
    return content, check(taken(content)), check(taken(state(), prefix="model."), strip_prefix="model.")


@situation("model_prefix_in_training.pth")
def model_prefix_in_training():
    content = {"state_dict": state("model.a"), "epoch": 3}
    passed_over = {"epoch": "integer"}
    return (content, check(taken(state(), key="state_dict", prefix="model.", passed_over=passed_over)),
            check(taken(state("model.a"), key="state_dict", passed_over=passed_over), strip_prefix=""))


@situation("model_prefix_beside_others.pth")
def model_prefix_beside_others():
    names = {**state("model.a"), "criterion.weight": counted(2)}
    return {"state_dict": names, "epoch": 3}, check(taken(names, key="state_dict", passed_over=["epoch"]))


@situation("data_parallel_in_training.pth.tar")
def data_parallel_in_training():
    content = {"epoch": 90, "arch": "resnet18", "state_dict": state("module.a"), "best_acc1": torch.tensor(69.75),
               "optimizer": momenta()}
    passed_over = {"epoch": "integer", "arch": "", "best_acc1": "", "optimizer": "optimizer"}
    return content, check(taken(state(), key="state_dict", prefix="module.", passed_over=passed_over))


@situation("averaged_model.pth")
def averaged_model():
    content = AveragedModel(Net(layer())).state_dict()
    assert "n_averaged" in content
    return content, check(taken(net_state(), prefix="module.", passed_over=["n_averaged"]))


@situation("averaged_compiled_model.pth")
def averaged_compiled_model():
    content = {"n_averaged": torch.tensor(3), **state("module._orig_mod.a")}
    return content, check(taken(state(), prefix="module._orig_mod.", passed_over=["n_averaged"]))


@situation("averaged_in_training.pth", legacy)
def averaged_in_training():
    content = {"model_ema": {"n_averaged": torch.tensor(3), **state("module.a")}, "epoch": 2}
    outcome = [taken(state(), key="model_ema", prefix="module.", passed_over=[name, "epoch"])
               for name in ("n_averaged", "model_ema.n_averaged")]
    return content, check(*outcome)


@situation("sharded_wrapper.pth")
def sharded_wrapper():
    """FSDP's own names, of a wrapped net whose parameters weren't flattened."""
    content = state("_fsdp_wrapped_module.a")
    return content, check(taken(content)), check(taken(state(), prefix="_fsdp_wrapped_module."),
                                                 strip_prefix="_fsdp_wrapped_module.")


@situation("flat_parameters.pth")
def flat_parameters():
    """All parameters of a wrapped net in one tensor: no layer can be told."""
    content = {"_fsdp_wrapped_module._flat_param": counted(24), "_fsdp_wrapped_module.a._flat_param": counted(8)}
    return content, check(taken(content))


@situation("checkpoint_wrapper.pth")
def checkpoint_wrapper():
    """Of activation checkpointing, in the middle of names."""
    content = state("block._checkpoint_wrapped_module.a")
    return content, check(taken(content))


@situation("data_parallel.safetensors", tensors_alone)
def data_parallel_safetensors():
    return state("module.a"), check(taken(state(), prefix="module.")), check(taken(state("module.a")), strip_prefix="")


@situation("compiled.safetensors", tensors_alone)
def compiled_safetensors():
    return state("_orig_mod.a"), check(taken(state(), prefix="_orig_mod."))


@situation("model_prefix.safetensors", tensors_alone)
def model_prefix_safetensors():
    return state("model.a"), check(taken(state("model.a")))


@situation("pairing_by_name.safetensors", tensors_alone)
def pairing_by_name():
    """Metadata of a layer goes with it when its name is cut."""
    grouped = {"a.W": counted(4, 2, 4), "a.D": counted(4, 4, 4, start=9)}
    content = {f"module.{name}": tensor for name, tensor in grouped.items()}
    metadata = {"format": "pt", "do_conv.pairing.module.a": "pytorch", "do_conv.kernel_size.module.a": "2x2"}
    return (content, metadata), check(taken(grouped, prefix="module."))
