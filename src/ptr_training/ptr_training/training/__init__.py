"""Configuration, the training loop and checkpoints: `ptr pretrain`, `ptr finetune`."""
