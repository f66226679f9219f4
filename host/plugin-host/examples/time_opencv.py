"""Times OpenCV on the picture that `time_calls` left, for `cargo xtask bench plugins`: `python3 time_opencv.py FOLDER`."""

import statistics
import sys
import time
from pathlib import Path

import cv2
import numpy

SIDE, ROUNDS = 512, 40

picture = numpy.frombuffer((Path(sys.argv[1]) / "picture.rgb").read_bytes(), numpy.uint8).reshape(SIDE, SIDE, 3)
# A plugin has one thread.
cv2.setNumThreads(1)


def timed(name, work):
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    print(f"{name}\t{statistics.median(times) * 1000:.4f}")


timed("OpenCV canny", lambda: cv2.Canny(picture, 100, 200))
timed("OpenCV blur", lambda: cv2.GaussianBlur(picture, (0, 0), 9))
