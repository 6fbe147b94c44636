"""The real arm, through Interbotix's driver xs_sdk."""
