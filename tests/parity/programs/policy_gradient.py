import collections
import random

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim

from tests.parity.seeded import fill

results = {}
rng = np.random.default_rng(0)


class Corridor:
    """Walk right to the goal."""

    def reset(self):
        self.x, self.t = 0.0, 0
        return np.array([self.x, 1.0], dtype=np.float32)

    def step(self, action):
        self.x += 0.25 if action == 1 else -0.25
        self.t += 1
        done = self.x >= 1 or self.t >= 12
        return np.array([self.x, 1.0], dtype=np.float32), (1.0 if self.x >= 1 else -0.1), done


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1 = nn.Linear(2, 16)
        self.action_head = nn.Linear(16, 2)
        self.value_head = nn.Linear(16, 1)
        self.saved_actions = []
        self.rewards = []

    def forward(self, x):
        x = F.relu(self.affine1(x))
        return F.softmax(self.action_head(x), dim=-1), self.value_head(x)


model = fill(Policy())
optimizer = optim.Adam(model.parameters(), lr=3e-2)
eps = np.finfo(np.float32).eps.item()
env = Corridor()
lengths = []
for i_episode in range(6):
    state, done = env.reset(), False
    while not done:
        probs, value = model(torch.from_numpy(state))
        action = int(rng.random() < probs[1].item())
        log_prob = torch.log(probs[action])
        model.saved_actions.append((log_prob, value))
        state, reward, done = env.step(action)
        model.rewards.append(reward)
    R, returns = 0, []
    for r in model.rewards[::-1]:
        R = r + 0.99 * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    policy_losses, value_losses = [], []
    for (log_prob, value), R in zip(model.saved_actions, returns):
        advantage = R - value.item()
        policy_losses.append(-log_prob * advantage)
        value_losses.append(F.smooth_l1_loss(value, torch.tensor([R])))
    optimizer.zero_grad()
    loss = torch.stack(policy_losses).sum() + torch.stack(value_losses).sum()
    loss.backward()
    optimizer.step()
    lengths.append([len(model.rewards), loss.item()])
    del model.rewards[:]
    del model.saved_actions[:]
results["episodes"] = lengths

# Q-learning with a replay memory and a target network
Transition = collections.namedtuple(
    "Transition", ("state", "action", "next_state", "reward", "done")
)
random.seed(0)
memory = collections.deque([], maxlen=200)
for _ in range(10):
    state, done = env.reset(), False
    while not done:
        action = random.randrange(2)
        next_state, reward, done = env.step(action)
        memory.append(Transition(torch.tensor(state).unsqueeze(0), torch.tensor([[action]], dtype=torch.long),
                                 torch.tensor(next_state).unsqueeze(0), torch.tensor([reward]), torch.tensor([done])))  # fmt: skip
        state = next_state
policy_net = fill(nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)), 1)
target_net = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))
target_net.load_state_dict(policy_net.state_dict())
optimizer = optim.AdamW(policy_net.parameters(), lr=1e-2, amsgrad=True)
criterion = nn.SmoothL1Loss()


def train_step(state, action, next_state, reward, done):
    q = policy_net(state).gather(1, action)
    with torch.no_grad():
        next_q = torch.where(done, 0.0, target_net(next_state).max(1).values)
    expected = (next_q * 0.99) + reward
    loss = criterion(q, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()
    return loss


losses = []
for _ in range(8):
    batch = Transition(*zip(*random.sample(memory, 32)))
    losses.append(train_step(*map(torch.cat, batch)).item())
    target_state, policy_state = target_net.state_dict(), policy_net.state_dict()
    for key in policy_state:
        target_state[key] = policy_state[key] * 0.1 + target_state[key] * 0.9
    target_net.load_state_dict(target_state)
results["q"] = losses
results["values"] = target_net(torch.tensor([[0.0, 1.0], [0.75, 1.0]]))
with torch.no_grad():
    results["greedy"] = policy_net(torch.tensor([[0.5, 1.0]])).max(1).indices.view(1, 1)
