"""``pixeltune studio``: the page on an address of this machine, until it is told to end.

Gradio's own `launch` is not used: it can open a public link, and asks its makers' servers for versions.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

from pixeltune.errors import UserError
from pixeltune.studio.defaults import HOST, MAX_UPLOAD, OUTPUT_DIR, PORT, UPLOADS
from pixeltune.studio.door import LOCAL, Door
from pixeltune.studio.easel import Easel


def open_studio(output_dir: str | Path = OUTPUT_DIR, *, host: str = HOST, port: int = PORT) -> None:
    """Serve the studio until Ctrl-C; a painting that is not finished then is stopped, with a checkpoint.

    Args:
        output_dir: folder for everything that is painted and brought; made if it is not there.
        host: address to listen on; by default this machine alone reaches the page.
        port: to listen on; 0: any free one, which is printed.

    Raises:
        UserError: the folder cannot be written, or the address is taken; nothing has been started.
        KeyboardInterrupt: Ctrl-C, as always.
    """
    import gradio  # noqa: F401  before a folder is made, because it may not be installed
    import uvicorn

    folder = Path(output_dir)
    _check_writable(folder)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:  # here, so that a taken port is an error like any other
        listener = socket.create_server((host, port), family=family, reuse_port=False)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot listen on {host}, port {port} ({reason}): give an address of this machine as --host and a --port "
            "that is free (0: any)"
        ) from None
    easel = Easel(folder)
    app = application(easel, host)
    address = f"[{host}]" if family == socket.AF_INET6 else host
    print(f"http://{address}:{listener.getsockname()[1]}  paints into {folder}; Ctrl-C ends it", flush=True)
    if host not in LOCAL:
        print(
            "Open to everybody who reaches this address: they may paint, and name files of this machine.",
            flush=True,
        )
    server = uvicorn.Server(uvicorn.Config(app, ws="none", log_level="warning", timeout_graceful_shutdown=1))
    # A page that is open keeps asking; that it is cut off at the end is no error.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: not (server.should_exit and _says_cut_off(record))
    )
    try:
        server.run(sockets=[listener])
    finally:
        easel.stop()
        easel.wait()
    # uvicorn raises the Ctrl-C that it took once more, but within asyncio, which can lose it in its last moment.
    raise KeyboardInterrupt


def application(easel: Easel, host: str = HOST) -> Any:
    """The page as an ASGI application that sends nothing anywhere.

    Args:
        easel: where paintings are made.
        host: that it is to listen on; where that is this machine alone, there is a `Door`.
    """
    _keep_to(easel.folder.absolute() / UPLOADS)
    import gradio
    from fastapi import FastAPI

    from pixeltune.studio.page import build, styles

    app = FastAPI(openapi_url=None)
    if host in LOCAL:
        app.add_middleware(Door)
    return gradio.mount_gradio_app(
        app,
        build(easel),
        path="/",
        allowed_paths=[str(easel.folder.absolute())],  # for downloads
        max_file_size=MAX_UPLOAD,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        pwa=False,
        enable_monitoring=False,
        css_paths=styles(),
    )


def _says_cut_off(record: logging.LogRecord) -> bool:
    kind = (record.exc_info or (None,))[0]
    if kind is not None:
        return issubclass(kind, asyncio.CancelledError)
    return "graceful shutdown exceeded" in str(record.msg)


def _keep_to(uploads: Path) -> None:
    """Tell Gradio, which reads it from the environment, where files go, and that it is to report nothing."""
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"


def _check_writable(folder: Path) -> None:
    """
    Raises:
        UserError: no file can be made in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"--output_dir {folder} cannot be written ({error.strerror}): give another"
        ) from error
