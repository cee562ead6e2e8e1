"""The editor `instruct-pix2pix`: diffusion models through diffusers."""
