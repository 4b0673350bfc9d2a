#!/usr/bin/env bash
# Reading a DataLoader that shuffles nothing moves PyTorch's random numbers on.
#
# Guess:  iterating a DataLoader with shuffle=False in the main process draws nothing, so a validation pass in eval
#         mode leaves the training after it as it was.
# Seen:   torch 2.15.0: every iter() of a DataLoader draws one number from the global generator, for workers there may
#         not be. With a pass over validation data between two epochs, the dropout and the shuffling of the second are
#         others, and so are the weights. With a generator of its own (generator=torch.Generator()) the loader leaves
#         them.
# Matters where two runs from one seed are compared that are evaluated at different steps: they are two seeds.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.set_num_threads(1)
data = TensorDataset(torch.arange(64.0).reshape(16, 4) / 64)


def trained(validation):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        for [rows] in DataLoader(data, batch_size=4, shuffle=True):
            optimizer.zero_grad()
            model.train()(rows).square().mean().backward()
            optimizer.step()
        if validation is not None:
            with torch.no_grad():
                for [rows] in validation:
                    model.eval()(rows)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


without = trained(None)
twice = trained(None)
evaluated = trained(DataLoader(data, batch_size=4, shuffle=False, num_workers=0))
generator = trained(DataLoader(data, batch_size=4, shuffle=False, generator=torch.Generator()))
equal = [torch.equal(without, other) for other in (twice, evaluated, generator)]
print("same weights again, with a validation pass, with one that has its own generator:", equal)
assert equal == [True, False, True], "it changed"
PY
