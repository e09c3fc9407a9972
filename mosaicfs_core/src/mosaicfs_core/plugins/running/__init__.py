"""Instances that run: in this process, in a child of it, or however a plugin kind runs them; all alike from outside."""
