"""What every other room stands on: errors, files, seeds, devices, progress, numbers, figures."""
