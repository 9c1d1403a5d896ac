"""Checkpoints to go on training from, by library and habit."""

import argparse
import collections

import torch
from __main__ import Dictionary, Holder

from .tools import check, counted, legacy, momenta, refused, saved, situation, state, taken

EPOCH = {"epoch": "integer"}
WITH_OPTIMIZER = {"optimizer": "optimizer", "epoch": "integer"}


def known_key(key):
    """A state dict under that key, with an optimizer beside it."""

    @situation(f"under_{key}.pth")
    def under_key():
        content = {"epoch": 3, key: state(), "optimizer": momenta()}
        return content, check(taken(state(), key=key, passed_over=WITH_OPTIMIZER)), check(
            taken(state(), key=key, passed_over=WITH_OPTIMIZER), key=key)


for known in ["model_state", "network", "params", "generator", "ema", "backbone"]:
    known_key(known)


@situation("tutorial.tar")
def tutorial():
    """As in PyTorch's tutorial, the loss with its gradient."""
    loss = torch.tensor(0.5, requires_grad=True) * 2
    content = {"epoch": 3, "model_state_dict": state(), "optimizer_state_dict": momenta(), "loss": loss}
    passed_over = {"epoch": "integer", "optimizer_state_dict": "optimizer", "loss": ""}
    return (content, check(taken(state(), key="model_state_dict", passed_over=passed_over)),
            check(refused("Config", "key", "model_state_dict"), key="state_dict"))


@situation("cifar.t7", legacy)
def cifar():
    content = {"net": state("module.a"), "acc": 93.25, "epoch": 199}
    return content, check(taken(state(), key="net", prefix="module.", passed_over={"acc": "", **EPOCH}))


@situation("flat_with_epoch.pth")
def flat_with_epoch():
    return {**state(), "epoch": 3}, check(taken(state(), passed_over=EPOCH))


@situation("gradient_scaler.pth")
def gradient_scaler():
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5, "growth_interval": 2000,
              "_growth_tracker": 3}
    scheduler = {"base_lrs": [0.1], "last_epoch": 3, "_step_count": 4, "_last_lr": [0.01]}
    content = {"model": state(), "optimizer": momenta(), "scaler": scaler, "scheduler": scheduler}
    return content, check(taken(state(), key="model",
                                passed_over={"optimizer": "optimizer", "scaler": "", "scheduler": ""}))


def lightning_checkpoint(weights):
    callback = {"monitor": "loss", "best_model_score": torch.tensor(0.5),
                "best_k_models": {"x.ckpt": torch.tensor(0.5)}}
    return {"epoch": 3, "global_step": 120, "pytorch-lightning_version": "2.5.0", "state_dict": weights,
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
            "callbacks": {"ModelCheckpoint{'monitor': 'loss'}": callback}, "optimizer_states": [momenta()],
            "lr_schedulers": [{"last_epoch": 3}], "hparams_name": "kwargs", "hyper_parameters": Dictionary(lr=0.1)}


BESIDE_LIGHTNING = [key for key in lightning_checkpoint({}) if key != "state_dict"]


@situation("lightning.ckpt")
def lightning():
    return lightning_checkpoint(state("model.a")), check(
        taken(state(), key="state_dict", prefix="model.", passed_over=BESIDE_LIGHTNING))


@situation("lightning_other_attribute.ckpt")
def lightning_other_attribute():
    """The net is the attribute `net` of the LightningModule, which nothing tells from a part of it."""
    return (lightning_checkpoint(state("net.a")),
            check(taken(state("net.a"), key="state_dict", passed_over=BESIDE_LIGHTNING)),
            check(taken(state(), key="state_dict", prefix="net.", passed_over=BESIDE_LIGHTNING), strip_prefix="net."))


def timm_checkpoint():
    return {"epoch": 3, "arch": "resnet18", "state_dict": state(), "optimizer": momenta(), "version": 2,
            "args": argparse.Namespace(lr=0.1, model="resnet18"), "amp_scaler": {"scale": 65536.0}, "metric": 76.5}


@situation("timm.pth.tar")
def timm():
    content = timm_checkpoint()
    return content, check(taken(state(), key="state_dict", passed_over=[key for key in content if key != "state_dict"]))


@situation("timm_ema.pth.tar")
def timm_ema():
    content = timm_checkpoint() | {"state_dict_ema": state(start=20)}
    beside = [key for key in content if not key.startswith("state_dict")]
    both = {f"{key}.{name}": tensor for key in ("state_dict", "state_dict_ema")
            for name, tensor in content[key].items()}
    everything = both | {"optimizer.state.0.momentum_buffer": momenta()["state"][0]["momentum_buffer"]}
    return (content, check(refused("Ambiguous", "state_dict", "state_dict_ema")),
            check(taken(state(), key="state_dict", passed_over=[*beside, "state_dict_ema"]), key="state_dict"),
            check(taken(state(start=20), key="state_dict_ema", passed_over=[*beside, "state_dict"]),
                  key="state_dict_ema"),
            check(taken(everything, passed_over=beside), key="."))


@situation("mmcv.pth")
def mmcv():
    meta = {"mmcv_version": "1.7.0", "time": "now", "epoch": 12, "CLASSES": ("cat", "dog"), "PALETTE": None}
    content = {"meta": meta, "state_dict": state("backbone.a"), "optimizer": momenta()}
    return content, check(taken(state("backbone.a"), key="state_dict",
                                passed_over={"meta": "", "optimizer": "optimizer"}))


def mmengine_checkpoint():
    history = Holder(_log_history=torch.ones(4).numpy(), _max_length=4)
    return {"meta": {"epoch": 12, "seed": 5}, "state_dict": state("backbone.a"),
            "message_hub": {"log_scalars": {"train/loss": history}, "runtime_info": {"iter": 5}},
            "optimizer": momenta(), "param_schedulers": [{"last_step": 3}]}


@situation("mmengine.pth")
def mmengine():
    content = mmengine_checkpoint()
    beside = [key for key in content if key != "state_dict"]
    return content, check(taken(state("backbone.a"), key="state_dict", passed_over=beside))


@situation("mmengine_ema.pth")
def mmengine_ema():
    averaged = {"steps": torch.tensor(5), **state("module.backbone.a", start=20)}
    content = mmengine_checkpoint() | {"ema_state_dict": averaged}
    beside = [key for key in content if key != "ema_state_dict"]
    return (content, check(refused("Ambiguous", "state_dict", "ema_state_dict")),
            check(taken(state("backbone.a", start=20), key="ema_state_dict", prefix="module.",
                        passed_over=beside + ["steps"]), key="ema_state_dict"))


@situation("detectron2.pth")
def detectron2():
    content = {"model": state("backbone.bottom_up.a"), "optimizer": momenta(), "iteration": 89999,
               "scheduler": {"last_epoch": 89999, "base_lrs": [0.1]}}
    return content, check(taken(state("backbone.bottom_up.a"), key="model",
                                passed_over={"optimizer": "optimizer", "iteration": "integer", "scheduler": ""}))


@situation("fastai.pth")
def fastai():
    """Its optimizer's state is a list."""
    optimizer = {"state": [{"mom": counted(2, 1, 4, start=30)}, {}], "hypers": [{"lr": 0.1, "mom": 0.9}]}
    return {"model": state(), "opt": optimizer}, check(taken(state(), key="model", passed_over=["opt"]))


@situation("pytorch_model.bin")
def hugging_face():
    weights = collections.OrderedDict(state("encoder.layer.0.a"))
    weights._metadata = collections.OrderedDict({"": {"version": 1}})
    return weights, check(taken(state("encoder.layer.0.a")))


@situation("mp_rank_00_model_states.pt")
def deepspeed():
    shapes = collections.OrderedDict({"a.W": torch.Size([2, 1, 4])})
    content = {"module": state(), "buffer_names": ["a.d_diag"], "optimizer": None, "param_shapes": [shapes],
               "frozen_param_shapes": None, "shared_params": {}, "frozen_param_fragments": None, "lr_scheduler": None,
               "data_sampler": None, "random_ltd": None, "sparse_tensor_module_names": set(), "skipped_steps": 0,
               "global_steps": 100, "global_samples": 800, "dp_world_size": 2, "mp_world_size": 1,
               "ds_config": {"train_batch_size": 8, "fp16": {"enabled": True}}, "ds_version": "0.15.0"}
    beside = [key for key in content if key != "module"]
    return content, check(taken(state(), key="module", passed_over=beside))


@situation("in_another.pth")
def in_another():
    content = {"state_dict": {"model": state(), "optimizer": momenta()}, "epoch": 3}
    passed_over = [[name, "epoch"] for name in ("optimizer", "state_dict.optimizer")]
    return (content, check(*[taken(state(), key="state_dict.model", passed_over=names) for names in passed_over]),
            check(*[taken(state(), key="state_dict.model", passed_over=names) for names in passed_over],
                  key="state_dict.model"))


@situation("in_two_others.pth")
def in_two_others():
    return {"state_dict": {"model": {"net": state()}}}, check(taken(state(), key="state_dict.model.net"))


@situation("weights_and_optimizer_in_tuple.pt")
def weights_and_optimizer_in_tuple():
    content = (state(), momenta())
    return content, check(taken(state(), key="0", passed_over={"1": "optimizer"}))


@situation("gan.pth")
def gan():
    content = {"netG": state(), "netD": state(start=20), "optG": momenta(), "optD": momenta()}
    beside = dict.fromkeys(["optG", "optD"], "optimizer")
    return (content, check(refused("Ambiguous", "netG", "netD")),
            check(taken(state(), key="netG", passed_over={"netD": "", **beside}), key="netG"))


@situation("gan_named_generator.pth")
def gan_named_generator():
    """Whether a generator is meant where there is a discriminator is asked; each can be told."""
    content = {"generator": state(), "discriminator": state(start=20), "g_optimizer": momenta(), "steps": 5}
    beside = ["g_optimizer", "steps"]
    return (content, check(taken(state(), key="generator", passed_over=["discriminator", *beside]), key="generator"),
            check(taken(state(start=20), key="discriminator", passed_over=["generator", *beside]), key="discriminator"))


@situation("student_and_teacher.pth")
def student_and_teacher():
    content = {"student": state("module.backbone.a"), "teacher": state("backbone.a", start=20), "optimizer": momenta(),
               "epoch": 3, "args": argparse.Namespace(lr=0.1), "dino_loss": {"center": counted(1, 4)}}
    return (content, check(refused("Ambiguous", "student", "teacher")),
            check(taken(state("backbone.a", start=20), key="teacher",
                        passed_over=["student", "optimizer", "epoch", "args", "dino_loss"]), key="teacher"))


@situation("momentum_contrast.pth.tar")
def momentum_contrast():
    names = {**state("module.encoder_q.a", "module.encoder_k.a"), "module.queue": counted(4, 2),
             "module.queue_ptr": torch.tensor([3])}
    stripped = {name.removeprefix("module."): tensor for name, tensor in names.items()}
    content = {"epoch": 3, "state_dict": names, "optimizer": momenta()}
    return content, check(taken(stripped, key="state_dict", prefix="module.", passed_over=WITH_OPTIMIZER))


def same_twice(file, weights, tensors, save=saved):
    """One object as the last and as the best."""

    @situation(file, save)
    def twice():
        both = {f"{key}.{name}": tensor for key in ("best", "model") for name, tensor in tensors.items()}
        return ({"best": weights, "model": weights, "epoch": 3},
                check(taken(tensors, key="model", passed_over={"best": "", **EPOCH})),
                check(taken(tensors, key="best", passed_over={"model": "", **EPOCH}), key="best"),
                check(taken(both, passed_over=EPOCH), key="."))


TWO = {"0": counted(2), "1": counted(3)}
same_twice("same_dictionary_twice.pth", state(), state())
same_twice("same_dictionary_twice_legacy.pth", state(), state(), legacy)
same_twice("same_ordered_dictionary_twice.pth", collections.OrderedDict(state()), state())
same_twice("same_ordered_dictionary_twice_legacy.pth", collections.OrderedDict(state()), state(), legacy)
same_twice("same_list_twice.pth", list(TWO.values()), TWO)


@situation("same_twice_of_unknown_keys.pth")
def same_twice_of_unknown_keys():
    weights = state()
    content = {"last": weights, "best": weights, "optimizer": momenta()}
    return content, check(taken(state(), key="last", passed_over={"best": "", "optimizer": "optimizer"}))


@situation("weights_beside_a_model.pth")
def weights_beside_a_model():
    """Both may be meant."""
    content = state("a") | {"model": state("b", start=20)}
    whole = state("a") | {f"model.{name}": tensor for name, tensor in content["model"].items()}
    return (content, check(refused("Ambiguous", "model", ".")), check(taken(whole), key="."),
            check(taken(content["model"], key="model", passed_over=["a.W", "a.D"]), key="model"))


@situation("lightning_of_a_model.pth")
def lightning_of_a_model():
    """A module whose `model` has a `model` of its own."""
    inner = state("model.a")
    content = {"state_dict": {f"model.{name}": tensor for name, tensor in inner.items()}, "epoch": 1}
    return content, check(taken(inner, key="state_dict", prefix="model.", passed_over=["epoch"]))
