"""Modules pickled whole."""

import torch
from __main__ import Net
from torch import nn
from torch.optim.swa_utils import AveragedModel

from .tools import check, counted, layer, legacy, momenta, net_state, situation, taken


@situation("net.pth")
def net():
    return Net(layer()), check(taken(net_state()))


@situation("net_legacy.pth", legacy)
def net_legacy():
    """A legacy file has the source of the classes beside them."""
    return Net(layer()), check(taken(net_state()))


@situation("net_with_temporary_buffer.pth")
def net_with_temporary_buffer():
    """The identity isn't in the state dict."""
    content = Net(layer(), persistent=False)
    assert list(content.state_dict()) == ["a.W", "a.D"]
    return content, check(taken(content.state_dict()))


@situation("net_tied.pth")
def net_tied():
    content = Net(layer())
    content.b = content.a
    return content, check(taken(content.state_dict()))


@situation("net_sequential.pth")
def net_sequential():
    content = nn.Sequential(Net(layer()).a, nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        content[3].weight.copy_(counted(1, 2))
        content[3].bias.zero_()
    return content, check(taken(content.state_dict()))


@situation("net_of_lists.pth")
def net_of_lists():
    content = nn.ModuleDict({"blocks": nn.ModuleList([Net(layer())]),
                             "scales": nn.ParameterList([counted(2), counted(1)]),
                             "shifts": nn.ParameterDict({"x": counted(3)})})
    return content, check(taken(content.state_dict()))


@situation("net_data_parallel.pth")
def net_data_parallel():
    return nn.DataParallel(Net(layer())), check(taken(net_state(), prefix="module."))


@situation("net_averaged.pth")
def net_averaged():
    return AveragedModel(Net(layer())), check(taken(net_state(), prefix="module.", passed_over=["n_averaged"]))


@situation("net_weight_norm.pth")
def net_weight_norm():
    """The weight itself is an attribute, and no parameter."""
    linear = nn.Linear(2, 2)
    with torch.no_grad():
        linear.weight.copy_(counted(2, 2))
        linear.bias.zero_()
    content = torch.nn.utils.weight_norm(linear)
    return content, check(taken(content.state_dict()))


@situation("net_beside_optimizer.pth")
def net_beside_optimizer():
    content = {"model": Net(layer()), "optimizer": momenta(), "epoch": 3}
    return content, check(taken(net_state(), key="model", passed_over={"optimizer": "optimizer", "epoch": "integer"}))


@situation("net_and_optimizer_in_list.pt")
def net_and_optimizer_in_list():
    """As `torch.save([model, criterion, optimizer], file)` has them."""
    net = Net(layer())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    content = [net, nn.CrossEntropyLoss(), optimizer]
    return content, check(taken(net_state(), key="0", passed_over=["1", "2"]))


@situation("net_twice.pth")
def net_twice():
    net = Net(layer())
    both = {f"{key}.{name}": tensor for key in ("model", "best") for name, tensor in net_state().items()}
    return ({"model": net, "best": net, "epoch": 1},
            check(taken(net_state(), key="model", passed_over=["best", "epoch"])),
            check(taken(both, passed_over=["epoch"]), key="."))
