"""Stable-Baselines3 with `sync_tensorboard` and its callback, which saves the model."""

import gymnasium
import wandb
from stable_baselines3 import PPO
from wandb.integration.sb3 import WandbCallback

run = wandb.init(project="sb3", config={"env": "CartPole-v1"}, sync_tensorboard=True, monitor_gym=True)
model = PPO(
    "MlpPolicy",
    gymnasium.make("CartPole-v1"),
    n_steps=64,
    batch_size=32,
    tensorboard_log=f"runs/{run.id}",
    seed=0,
    device="cpu",
)
model.learn(
    total_timesteps=192,
    callback=WandbCallback(model_save_path=f"models/{run.id}", model_save_freq=100, gradient_save_freq=10),
)
run.finish()
