"""Networks of the two papers, in plain PyTorch: HRNet, HSTPN, STSP-Net. float32; weights travel as safetensors."""
