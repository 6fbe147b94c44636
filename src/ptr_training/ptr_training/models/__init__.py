"""Networks: image encoders, critics, policies, frozen encoders."""
