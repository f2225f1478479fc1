"""The process and its machine: devices and meshes, signals, progress, errors. It knows nothing of images."""
