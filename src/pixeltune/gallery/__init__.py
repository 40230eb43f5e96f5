"""``pixeltune gallery``: a static page per run, to look at instead of reading logs."""
