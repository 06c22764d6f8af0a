"""What goes in: benchmarks, tables and folders; decoded pixels; samplers; augmentation."""
