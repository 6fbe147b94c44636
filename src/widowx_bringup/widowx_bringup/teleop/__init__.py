"""A person moves the arm: keyboard, gamepad, SpaceMouse, leader arm."""
