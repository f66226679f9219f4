"""What Gesso's API is measured beside, for `cargo xtask bench api`: `python3 fastapi_service.py DATABASE`.

FastAPI on uvicorn with uvloop and httptools, one process. A task is a row of SQLite, which is on the disk before it is
acknowledged. Nothing is drawn: a worker, a thread, marks one row after the other as done, and that too is on the disk before
anybody is told. The queue can be paused. It says where it listens as Gesso does, and ends cleanly on SIGTERM.
"""

import asyncio
import contextlib
import json
import queue
import secrets
import signal
import socket
import sqlite3
import sys
import threading
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
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
# Ids in the order in which they came, and whether the worker takes them.
waiting, going = queue.SimpleQueue(), threading.Event()
going.set()
# Who waits for the end of a task, by its id. On the event loop alone.
listeners = {}


def work(loop):
    while True:
        task = waiting.get()
        going.wait()
        with writing:
            writer.execute("UPDATE tasks SET status = 'succeeded' WHERE id = ? AND status = 'waiting'", (task,))
        # The loop is closed when the service ends.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(tell, task)


def tell(task):
    for listener in listeners.pop(task, ()):
        listener.set()


@contextlib.asynccontextmanager
async def lifespan(_):
    threading.Thread(target=work, args=(asyncio.get_running_loop(),), daemon=True).start()
    yield


app = FastAPI(lifespan=lifespan)


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


def insert(task, body):
    with writing:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO tasks VALUES (?, 'waiting', ?)", (task, body))
        writer.execute("COMMIT")
        waiting.put(task)


def status_of(task):
    row = reader.execute("SELECT status FROM tasks WHERE id = ?", (task,)).fetchone()
    if row is None:
        raise HTTPException(404, "not found")
    return row[0]


async def ended(task):
    listener = asyncio.Event()
    # Before the look at its status, or its end in between would be missed.
    listeners.setdefault(task, []).append(listener)
    if status_of(task) != "waiting":
        tell(task)
    await listener.wait()
    return status_of(task)


@app.post("/txt2img")
async def submit(drawing: Drawing, request_type: Annotated[str, Header()] = "sync"):
    task = secrets.token_urlsafe(16)
    await run_in_threadpool(insert, task, drawing.model_dump_json())
    status = "waiting" if request_type == "async" else await ended(task)
    return {"taskId": task, "status": status}


@app.get("/tasks/{task}")
async def show(task: str):
    return {"taskId": task, "status": status_of(task)}


@app.get("/tasks/{task}/events")
async def events(task: str):
    before = status_of(task)

    async def told():
        yield event("task.status", task, before)
        yield event("task.done", task, await ended(task))

    return StreamingResponse(told(), media_type="text/event-stream")


def event(name, task, status):
    return f"event: {name}\ndata: {json.dumps({'taskId': task, 'status': status})}\n\n"


@app.post("/queue/pause")
async def pause():
    going.clear()
    return {"paused": True}


@app.post("/queue/resume")
async def resume():
    going.set()
    return {"paused": False}


def withdraw(task):
    change = "UPDATE tasks SET status = 'canceled' WHERE id = ? AND status = 'waiting'"
    with writing:
        return writer.execute(change, (task,)).rowcount > 0


@app.post("/tasks/{task}/cancellation")
async def cancel(task: str):
    if not await run_in_threadpool(withdraw, task):
        raise HTTPException(409, f"it is {status_of(task)} already")
    tell(task)
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
