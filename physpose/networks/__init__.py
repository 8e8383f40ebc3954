"""Networks of the two papers in plain PyTorch (HRNet, HSTPN, STSP-Net), and the layer that makes any network physical.

float32; weights travel as safetensors.
"""
