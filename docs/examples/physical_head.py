"""Make a network of your own physical: its keypoints pass through a body, and the body's physics trains it."""

import torch

from physpose import KinematicChain, load_skeleton
from physpose.networks.physical_head import PhysicalHead

torch.manual_seed(0)
chain = KinematicChain(load_skeleton("child", age=8, sex="f", height=1.28, mass=26))
time = torch.arange(8, dtype=torch.float64) / 30
upright = chain.keypoints(torch.as_tensor(chain.skeleton.neutral), "coco17")
seen = upright + 0.02 * torch.randn(8, 17, 3, dtype=torch.float64)  # what your data look like

net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(51, 51), torch.nn.Unflatten(1, (17, 3))).double()
head = PhysicalHead(chain, "coco17")
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
for step in range(12):
    keypoints = seen + net(seen)  # your network's 3D keypoints (T, K, 3) [m], z up
    losses = head(keypoints, time).losses
    loss = losses["projection"] + losses["root_wrench"] + 1e-3 * losses["torque"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(
        f"step {step}: loss {loss.item():.3f}, unexplained force {losses['root_wrench'].item() ** 0.5:.3f} body weights"
    )
