"""The network, how it is trained, and the artifact that training leaves behind."""
