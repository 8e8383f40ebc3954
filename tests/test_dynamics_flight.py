"""Ten seconds in free fall and in orbit: MuJoCo moves the body, our kinematics must keep its momentum and energy."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from dynamics_trees import TREES

from physpose import conventions, dynamics
from physpose.chain import KinematicChain
from physpose.skeleton.mjcf import to_mjcf

TREE = TREES["child"]
T, DT = 10_000, 1e-3
MOMENTUM_RTOL, ENERGY_RTOL = 1e-6, 1e-4  # asked for


def twisting_somersault(gravity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """qpos, qvel (T + 1, n) and the joint torques (T, n) held over each step: tuck and untuck, one arm first."""
    model = mujoco.MjModel.from_xml_string(to_mjcf(TREE))
    model.opt.gravity, model.opt.timestep = gravity, DT
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_RK4
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_CONSTRAINT
    data = mujoco.MjData(model)
    data.qvel[:6] = [0.5, 0.1, 3.0, 0.5, 6.0, 1.0]
    phase = np.arange(model.nv - 6)
    inertia = np.zeros((model.nv, model.nv))
    qpos, qvel, forces = [], [], []
    for k in range(T + 1):
        qpos.append(data.qpos.copy())
        qvel.append(data.qvel.copy())
        if k == T:
            break
        target = 0.8 * np.sin(2 * np.pi * 0.4 * k * DT + phase) * min(1, k * DT)
        mujoco.mj_forward(model, data)
        mujoco.mj_fullM(model, data, inertia)
        joint_inertia = np.linalg.inv(np.linalg.inv(inertia)[6:, 6:])  # as felt while the root floats
        data.qfrc_applied[6:] = joint_inertia @ (100 * (target - data.qpos[7:]) - 20 * data.qvel[6:])
        forces.append(data.qfrc_applied.copy())
        mujoco.mj_step(model, data)
    return np.array(qpos), np.array(qvel), np.array(forces)


@pytest.mark.parametrize("gravity", [(0.0, 0.0, -9.81), (0.0, 0.0, 0.0)], ids=["free fall", "orbit"])
def test_momentum_is_conserved_and_energy_is_work(gravity):
    qpos, qvel, forces = twisting_somersault(np.array(gravity))
    q = torch.tensor(conventions.q_from_mujoco(TREE, qpos))
    v = torch.tensor(conventions.v_from_mujoco(TREE, qpos, qvel))
    chain = KinematicChain(TREE)
    h = dynamics.centroidal_momentum(chain, q, v)
    assert float((v[:, 6:].abs().amax(0)).min()) > 1.0  # [rad/s] every joint moved
    angular = h[:, 3:]
    assert float((angular - angular[0]).norm(dim=-1).max() / angular[0].norm()) < MOMENTUM_RTOL
    time = DT * torch.arange(T + 1).double()
    fall = TREE.mass * time[:, None] * torch.tensor(gravity).double()
    assert float((h[:, :3] - h[0, :3] - fall).abs().max() / h[:, :3].norm(dim=-1).max()) < MOMENTUM_RTOL
    kinetic, potential = dynamics.energy(chain, q, v, gravity=gravity)
    total = (kinetic + potential).numpy()
    # torques are held over a step, so the work is exactly tau . dq
    steps = (forces[:, 6:] * np.diff(qpos[:, 7:], axis=0)).sum(-1)
    work = np.append(0, np.cumsum(steps))
    assert np.abs(total - total[0] - work).max() < ENERGY_RTOL * np.abs(steps).sum()


def test_measured_momentum_would_notice_a_wrong_mass():
    qpos, qvel, _ = (x[:2000] for x in twisting_somersault(np.zeros(3)))
    q = torch.tensor(conventions.q_from_mujoco(TREE, qpos))
    v = torch.tensor(conventions.v_from_mujoco(TREE, qpos, qvel))
    chain = KinematicChain(TREE)
    parameters = dynamics.body_parameters(chain)
    mass = parameters.mass.clone()
    mass[4] *= 1.01
    angular = dynamics.centroidal_momentum(chain, q, v, parameters=parameters._replace(mass=mass))[:, 3:]
    assert float((angular - angular[0]).norm(dim=-1).max() / angular[0].norm()) > 100 * MOMENTUM_RTOL
