"""A worker process of `prepare.run`: a line of JSON in, a line of JSON out, one file at a time.

It is a process of its own, so a source that crashes or hangs a decoder takes only its own job with it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from pathlib import Path

from data_scripts.atomic import replacing
from data_scripts.source import SourceError
from data_scripts.transcode import Settings, problem, transcode

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)  # no other file could be written either


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends this process
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not look like a reply
    for line in sys.stdin:
        replies.write(json.dumps(work(json.loads(line))) + "\n")
        replies.flush()


def work(job: dict) -> dict[str, str]:
    """Do one job; returns its status ("encoded", "copied", "kept", "failed", "full") and the cause of a failure."""
    source, target, settings = Path(job["source"]), Path(job["target"]), Settings(**job["settings"])
    try:
        if job["kind"] == "image":
            return {"status": shrink_image(source, target, settings.short_side), "cause": ""}
        if job["verify"] and target.exists() and not problem(target, settings):
            return {"status": "kept", "cause": ""}
        return {"status": transcode(source, target, settings, job["start"], job["end"]), "cause": ""}
    except SourceError as error:
        return {"status": "failed", "cause": str(error)}
    except OSError as error:
        status = "full" if error.errno in FULL else "failed"
        return {"status": status, "cause": f"{error.strerror or error}."}
    except Exception as error:  # one strange file must not end the run
        return {"status": "failed", "cause": f"{type(error).__name__}: {' '.join(str(error).split())}"}


def shrink_image(source: Path, target: Path, short_side: int) -> str:
    """Write a picture as RGB JPEG with the given short side; one that is small enough keeps its size.

    An EXIF orientation is left alone: the published ImageNet recipes do not look at it either.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(source) as picture:
            picture = picture.convert("RGB")
    except (UnidentifiedImageError, SyntaxError, EOFError) as error:
        raise SourceError(f"it cannot be read as a picture ({error}).") from error
    scale = short_side / min(picture.size)
    if scale < 1:
        picture = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.BICUBIC)
    with replacing(target) as temporary:
        picture.save(temporary, format="JPEG", quality=95)
    return "encoded"


if __name__ == "__main__":
    main()
