"""What runs on the rig: one short function a case."""
