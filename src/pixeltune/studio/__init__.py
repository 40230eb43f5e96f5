"""``pixeltune studio``: a page in the browser on which one picture at a time is painted, looked at and asked.

Imports `picture`, `artwork`, `data`, `tasks`, `model`, `evaluation`, `training`, and `gallery` for its charts; Gradio
in `page` and `server` alone.
"""
