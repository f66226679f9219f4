"""What Gesso's API is measured beside, for `cargo xtask bench api`: `python3 fastapi_service.py DATABASE`.

FastAPI on uvicorn with uvloop and httptools, one process. A task is a row of SQLite, which is on the disk before it is
acknowledged. Nothing is drawn. It says where it listens as Gesso does, and ends cleanly on SIGTERM.
"""

import secrets
import signal
import socket
import sqlite3
import sys
import threading
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from pydantic import BaseModel


def connect():
    connection = sqlite3.connect(sys.argv[1], isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


# The fastest of what was tried: commits from FastAPI's pool of threads, one after another by a lock. Commits on the event
# loop gave a third as many, and a connection for each thread had them wait for SQLite's own lock, up to a second.
writer, writing = connect(), threading.Lock()
writer.execute("CREATE TABLE tasks (id TEXT PRIMARY KEY, status TEXT NOT NULL, body TEXT NOT NULL)")
# Reads are quicker on the event loop than handed to a thread.
reader = connect()
app = FastAPI()


class Drawing(BaseModel):
    stable_diffusion_model: str
    prompt: str = ""
    negative_prompt: str = ""
    steps: int = 20
    width: int = 512
    height: int = 512
    seed: int = -1
    sampler_name: str = "Euler"
    cfg_scale: float = 7.0


@app.post("/txt2img")
def submit(drawing: Drawing, request_type: Annotated[str, Header()] = "sync"):
    if request_type != "async":
        raise HTTPException(400, "this service draws nothing to wait for")
    task = secrets.token_urlsafe(16)
    with writing:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO tasks VALUES (?, 'waiting', ?)", (task, drawing.model_dump_json()))
        writer.execute("COMMIT")
    return {"taskId": task, "status": "waiting"}


@app.get("/tasks/{task}")
async def show(task: str):
    row = reader.execute("SELECT status FROM tasks WHERE id = ?", (task,)).fetchone()
    if row is None:
        raise HTTPException(404, "not found")
    return {"taskId": task, "status": row[0]}


@app.post("/tasks/{task}/cancellation")
def cancel(task: str):
    with writing:
        found = writer.execute("UPDATE tasks SET status = 'canceled' WHERE id = ?", (task,)).rowcount
    if not found:
        raise HTTPException(404, "not found")
    return {"message": "success"}


if __name__ == "__main__":
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    # uvicorn shuts down at SIGTERM and then raises it again, which would be no clean end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(app, loop="uvloop", http="httptools", log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])
