"""How are the weights moved? Muon for the matrices inside the layers, Adam for everything else.

Muon takes the momentum of a matrix and replaces it by the nearest matrix with equal singular
values, so every direction learns at the same rate. A small text is learnt in far fewer passes
than with Adam alone. Stacks of experts are treated matrix by matrix.
"""
import torch

# Odd polynomial that drives singular values in (0, 1] towards 1 within five rounds.
ROUND = (3.4445, -4.7750, 2.0315)


def orthogonalise(stack):
    """stack [matrices, rows, columns] -> the same with singular values near one."""
    x = stack.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = ROUND
    for _ in range(5):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Muon(torch.optim.Optimizer):
    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = {}
            for param in group["params"]:
                by_shape.setdefault(param.shape[-2:], []).append(param)
            for (rows, columns), params in by_shape.items():
                self._step_shape(params, group, max(1.0, rows / columns) ** 0.5)

    def _step_shape(self, params, group, scale):
        """One batched orthogonalisation for all matrices of a shape."""
        directions = []
        for param in params:
            momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
            momentum.lerp_(param.grad, 1 - group["momentum"])
            directions.append(param.grad.lerp(momentum, group["momentum"])
                              .reshape(-1, *param.shape[-2:]))
        updates = orthogonalise(torch.cat(directions)).split([d.shape[0] for d in directions])
        for param, update in zip(params, updates):
            param.mul_(1 - group["lr"] * group["weight_decay"])
            param.add_(update.view_as(param), alpha=-group["lr"] * scale)


def make_optimizers(network, muon_lr, adam_lr, weight_decay):
    """[Muon, Adam] with "full_lr" in every group.

    The embedding, the head, the router and the norms go to Adam.
    """
    matrices, others = [], []
    for name, param in network.named_parameters():
        inner = param.ndim >= 2 and not any(
            part in name for part in ("embed_tokens", "lm_head", "mlp.gate."))
        (matrices if inner else others).append(param)
    optimizers = [Muon(matrices, lr=muon_lr, weight_decay=weight_decay),
                  torch.optim.AdamW(others, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.01)]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["full_lr"] = group["lr"]  # what a schedule takes its shares of
    return optimizers
