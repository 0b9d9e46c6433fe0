"""Media that `run.log` takes, on both databases: the files of the run, and the maps in its rows."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import modelyard
from modelyard import Api
from modelyard.media.file_names import stem_of
from modelyard.public_runs.public_run import PublicRun
from tests.clients.commands import run_command
from tests.parts.server import LiveServer
from tests.parts.system.disks import MIB, DiskFactory, disk_factory

__all__ = ["disk_factory"]

RANDOM = np.random.default_rng(7)


def _pixels() -> Any:
    """A picture that no other call returns, 5 high and 4 wide."""
    return RANDOM.integers(0, 256, (5, 4, 3), dtype=np.uint8)


def _rows(run: PublicRun) -> list[dict[str, Any]]:
    return list(run.scan_history())


def _bytes(run: PublicRun, path: str, folder: Path) -> bytes:
    run.file(path).download(folder, exist_ok=True).close()
    return (folder / path).read_bytes()


def test_an_image_of_each_step_comes_back_with_its_pixels_size_and_step(work: Path) -> None:
    arrays = [_pixels() for _ in range(3)]
    with modelyard.init() as run:
        for step, array in enumerate(map(np.copy, arrays)):
            run.log({"loss": 0.5, "val/examples": modelyard.Image(array, caption=f"step {step}")})
            array[:] = 0  # what is changed later changes nothing
        assert run.summary["val/examples"]["caption"] == "step 2"
        local = Path(run.dir)
    found = Api().run(run.path)
    rows = _rows(found)
    assert [row["_step"] for row in rows] == [0, 1, 2]
    for step, row in enumerate(rows):
        stored = row["val/examples"]
        content = _bytes(found, stored["path"], work / "downloaded")
        assert content == (local / stored["path"]).read_bytes()
        assert stored["sha256"] == hashlib.sha256(content).hexdigest()
        assert stored["size"] == len(content)
        assert stored["path"] == f"media/images/val/examples_{step}_{stored['sha256'][:20]}.png"
        assert (stored["_type"], stored["format"]) == ("image-file", "png")
        assert (stored["width"], stored["height"]) == (4, 5)
        image = found.media(stored, work / "downloaded")
        assert image.caption == f"step {step}"
        assert np.array_equal(np.asarray(image.image), arrays[step])
    assert found.file(rows[0]["val/examples"]["path"]).mimetype == "image/png"


def test_media_of_all_kinds_come_back_in_lists_maps_and_beside_numbers(work: Path) -> None:
    with modelyard.init() as run:
        run.log(
            {
                "loss": np.float32(0.5),
                "list": [modelyard.Image(_pixels(), caption="first"), modelyard.Image(_pixels())],
                "mixed": [modelyard.Html("<b>bold</b>", inject=False), modelyard.Image(_pixels())],
                "nested": {"deep": {"hist": modelyard.Histogram([1, 2, 2], num_bins=2), "loss": 1}},
                "pages": (modelyard.Html("one"), modelyard.Html("two")),
                "nothing": [],
                "maps": [{"page": modelyard.Html("in a map"), "id": 1}, [1, 2]],
            }
        )
        assert run.summary["nested"]["deep"]["hist"]["values"] == [1, 2]
    found = Api().run(run.path)
    (row,) = _rows(found)
    assert (row["loss"], row["nested.deep.loss"], row["nothing"]) == (0.5, 1, [])
    assert row["list"]["_type"] == "images/separated"
    assert (row["list"]["count"], row["list"]["captions"]) == (2, ["first", None])
    first, second = found.media(row["list"], work / "there")
    assert (first.caption, second.caption) == ("first", None)
    page, image = found.media(row["mixed"], work / "there")
    assert page.html == "<b>bold</b>"
    assert image.image.size == (4, 5)
    assert row["pages"]["_type"] == "html"
    assert len(found.media(row["pages"], work / "there")) == 2
    assert row["maps"][0]["id"] == 1
    assert row["maps"][1] == [1, 2]
    assert found.media(row["maps"], work / "there")[0]["page"].html.endswith("in a map")
    assert row["nested.deep.hist"] == {"_type": "histogram", "values": [1, 2], "bins": [1.0, 1.5, 2.0]}
    assert found.summary["nested"]["deep"]["hist"] == row["nested.deep.hist"]


def test_equal_content_is_a_file_once_for_each_key(work: Path) -> None:
    array = _pixels()
    with modelyard.init() as run:
        for _ in range(5):
            run.log({"same": modelyard.Image(array), "other": modelyard.Image(array)})
        files = [path for path in Path(run.dir).rglob("*") if path.is_file()]
        assert sum(path.suffix == ".png" for path in files) == 2
        assert not [path for path in files if path.suffix == ".part"]
    found = Api().run(run.path)
    assert {row["same"]["path"] for row in _rows(found)} == {_rows(found)[0]["same"]["path"]}
    assert len(found.files(pattern="media/images/%")) == 2


def test_files_are_kept_as_they_are_and_may_be_deleted_after_the_call(work: Path) -> None:
    picture = PIL.Image.fromarray(_pixels())
    picture.save("photo.jpg", quality=50)
    content = Path("photo.jpg").read_bytes()
    buffer = io.BytesIO()
    picture.save(buffer, "png")
    with modelyard.init() as run:
        Path("odd.j\np?g").write_bytes(b"odd")
        run.log({"photo": modelyard.Image("photo.jpg"), "raw": modelyard.Image(buffer.getvalue())})
        run.log({"odd": modelyard.Image("odd.j\np?g")})
        Path("photo.jpg").unlink()
    found = Api().run(run.path)
    row, odd = _rows(found)
    assert _bytes(found, odd["odd"]["path"], work / "there") == b"odd"
    assert (row["photo"]["format"], row["photo"]["width"], row["photo"]["height"]) == ("jpg", 4, 5)
    assert _bytes(found, row["photo"]["path"], work / "there") == content
    assert _bytes(found, row["raw"]["path"], work / "there") == buffer.getvalue()


def test_boxes_and_masks_come_back_with_the_names_of_their_classes(work: Path) -> None:
    box = {"position": {"minX": 0, "maxX": 0.5, "minY": 0, "maxY": 1}, "class_id": 1, "scores": {"p": 0.5}}
    mask = RANDOM.integers(0, 300, (5, 4))
    image = modelyard.Image(
        _pixels(),
        boxes={"predicted": {"box_data": [box], "class_labels": {1: "car"}}},
        masks={"truth": {"mask_data": mask, "class_labels": {0: "road", 1: "car"}}},
        classes=[{"id": 0, "name": "road"}, {"id": 1, "name": "car"}],
    )
    with modelyard.init() as run:
        run.log({"one": image, "two": [image, modelyard.Image(_pixels())]})
    found = Api().run(run.path)
    (row,) = _rows(found)
    one, (two, plain) = found.media(row["one"], "there"), found.media(row["two"], "there")
    for got in (one, two):
        assert got.boxes["predicted"].boxes == [box]
        assert got.boxes["predicted"].class_labels == {"1": "car"}
        assert np.array_equal(got.masks["truth"].data, mask)
        assert got.masks["truth"].classes.names == {0: "road", 1: "car"}
        assert got.classes.names == {0: "road", 1: "car"}
    assert (plain.boxes, plain.masks, plain.classes) == ({}, {}, None)
    assert len(found.files(pattern="media/classes/%")) == 1


@pytest.mark.parametrize(
    ("key", "stem"),
    [
        ("val/images", "val/images"),
        ("größe 🙂", "größe 🙂"),
        ("../../etc", "_/_/etc"),
        ("/absolute", "_/absolute"),
        ("a//b/", "a/_/b/_"),
        ("c:\\x*?", "c__x__"),
        (".", "_"),
        ("x" * 300, "x" * 80),
        ("/".join("abcdefghijklmnopqrstuvwxyz"), "a/b/c/d/e/f/g/h/i/j/k/l/m/n/o/z"),
    ],
)
def test_keys_become_safe_paths(key: str, stem: str) -> None:
    assert stem_of(key) == stem


def test_media_under_strange_keys_stay_in_the_folder_of_the_run(work: Path, tmp_path: Path) -> None:
    keys = ["../../up", "größe/🙂", "/absolute", "a//b", "x" * 300, "a\\b"]
    before = {path for path in tmp_path.rglob("*") if "modelyard" not in path.parts}
    with modelyard.init() as run:
        run.log({key: modelyard.Html(key) for key in keys})
    assert {path for path in tmp_path.rglob("*") if "modelyard" not in path.parts} == before
    found = Api().run(run.path)
    (row,) = _rows(found)
    assert [found.media(row[key], "there").content.read().decode()[22:] for key in keys] == keys


def test_a_value_that_names_a_path_outside_reads_nothing_there(work: Path) -> None:
    (work / "secret.html").write_text("secret")
    with modelyard.init() as run:
        run.log({"loss": 1})
    found = Api().run(run.path)
    for path in ("../secret.html", str(work / "secret.html"), "media/../../secret.html"):
        with pytest.raises(ValueError, match="must be relative"):
            found.media({"_type": "html-file", "path": path}, work / "there")


def test_an_offline_run_sends_its_media_with_sync_also_when_its_folder_was_moved(work: Path) -> None:
    array = _pixels()
    run = modelyard.init(mode="offline", id="offline")
    for step in range(2):
        run.log({"image": modelyard.Image(array + step)}, step=10 * step)
    run.finish()
    folder = Path(run.dir).parent
    moved = shutil.move(folder, work / f"moved-{folder.name}")
    for _ in range(2):
        assert run_command("sync", str(moved)).returncode == 0
    found = Api().run(f"{os.environ['MODELYARD_ENTITY']}/{os.environ['MODELYARD_PROJECT']}/offline")
    rows = _rows(found)
    assert [row["_step"] for row in rows] == [0, 10]
    for step, row in enumerate(rows):
        image = found.media(row["image"], "there").image
        assert np.array_equal(np.asarray(image), array + step)
    assert len(found.files(pattern="media/%")) == 2


def test_media_of_a_disabled_run_are_in_its_summary_and_nowhere_else(work: Path) -> None:
    with modelyard.init(mode="disabled") as run:
        run.log({"image": modelyard.Image(_pixels()), "table": modelyard.Table(columns=["a"], data=[[1]])})
        assert run.summary["image"]["width"] == 4
        assert run.summary["table"]["nrows"] == 1
    assert not list(work.rglob("*.png"))


def test_a_value_that_cannot_be_stored_is_left_out_with_a_warning(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("gone.png").write_bytes(b"\x89PNG")
    gone = modelyard.Image("gone.png")
    Path("gone.png").unlink()
    with modelyard.init() as run:
        run.log({"gone": gone, "loss": 1.0, "there": modelyard.Html("x")})
    (row,) = _rows(Api().run(run.path))
    assert row["loss"] == 1.0
    assert "gone" not in row
    assert "there" in row
    assert "the metric 'gone' cannot be stored" in capsys.readouterr().err


def test_maps_that_contain_themselves_or_fail_cost_their_neighbours_nothing(work: Path) -> None:
    class Failing(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError("its own code")

    nowhere = type("Nowhere", (), {"__module__": None})
    around: dict[str, Any] = {"page": modelyard.Html("within")}
    around |= {"itself": around, "again": around}
    with modelyard.init() as run:
        run.log(
            {
                "around": around,
                "failing": Failing(a=1),
                "nowhere": nowhere(),
                "page": modelyard.Html("beside"),
            }
        )
    found = Api().run(run.path)
    (row,) = _rows(found)
    assert found.media(row["page"], "there").html.endswith("beside")
    assert found.media(row["around.page"], "there").html.endswith("within")


def test_a_row_that_is_dropped_writes_no_files(work: Path) -> None:
    with modelyard.init() as run:
        run.log({"loss": 1}, step=5)
        run.log({"late": modelyard.Html("late")}, step=3)
        assert not list(Path(run.dir).rglob("*.html"))
    assert len(Api().run(run.path).files(pattern="media/%")) == 0


def test_images_of_forked_children_arrive(work: Path) -> None:
    run = modelyard.init()
    run.log({"parent": modelyard.Html("parent")})
    for number in range(2):
        child = os.fork()
        if not child:
            run.log({"child": modelyard.Html(f"child {number}"), "parent": modelyard.Html("parent")})
            os._exit(0)
        os.waitpid(child, 0)
    run.finish()
    found = Api().run(run.path)
    rows = _rows(found)
    pages = {found.media(row["child"], "there").html for row in rows if "child" in row}
    assert {page[-7:] for page in pages} == {"child 0", "child 1"}
    assert len({row["parent"]["path"] for row in rows}) == 1


def test_media_of_spawned_workers_arrive(work: Path) -> None:
    Path("trains.py").write_text(
        textwrap.dedent(
            """
            import multiprocessing
            import modelyard

            def work(run, number):
                run.log({"child": modelyard.Html(f"child {number}")})

            if __name__ == "__main__":
                run = modelyard.init(id="spawned")
                run.log({"parent": modelyard.Html("parent")})
                context = multiprocessing.get_context("spawn")
                workers = [context.Process(target=work, args=(run, number)) for number in range(2)]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                run.finish()
            """
        )
    )
    done = subprocess.run([sys.executable, "trains.py"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = Api().run("spawned")
    pages = [found.media(row["child"], "there").html for row in _rows(found) if "child" in row]
    assert sorted(page[-7:] for page in pages) == ["child 0", "child 1"]


def test_media_that_were_logged_before_a_sudden_end_are_sent_by_sync(work: Path) -> None:
    program = """
import os, modelyard
run = modelyard.init(id="ended")
table = modelyard.Table(columns=["page"], data=[[modelyard.Html("cell", inject=False)]])
for step in range(3):
    run.log({"page": modelyard.Html(f"page {step}", inject=False), "table": table})
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=120, capture_output=True)
    assert run_command("sync").returncode == 0
    found = Api().run("ended")
    rows = _rows(found)
    assert [found.media(row["page"], "there").html for row in rows] == ["page 0", "page 1", "page 2"]
    assert [found.media(row["table"], "there").data[0][0].html for row in rows] == ["cell"] * 3


def test_threads_that_log_media_lose_none(work: Path) -> None:
    def log(number: int) -> None:
        for step in range(20):
            run.log({f"page {number}": modelyard.Html(f"{number} {step}", inject=False)})

    with modelyard.init() as run, ThreadPoolExecutor(4) as threads:
        list(threads.map(log, range(4)))
    found = Api().run(run.path)
    pages = [
        found.media(value, "there").html
        for row in _rows(found)
        for key, value in row.items()
        if "page" in key
    ]
    assert sorted(pages) == sorted(f"{number} {step}" for number in range(4) for step in range(20))


def test_media_in_the_summary_come_back(work: Path) -> None:
    array = _pixels()
    with modelyard.init() as run:
        run.log({"loss": 1})
        run.summary["best"] = modelyard.Image(array)
        run.summary.update({"page": modelyard.Html("x", inject=False), "plain": 3})
        assert run.summary["best"]["width"] == 4
    found = Api().run(run.path)
    assert np.array_equal(np.asarray(found.media(found.summary["best"], "there").image), array)
    assert found.media(found.summary["page"], "there").html == "x"
    assert found.summary["plain"] == 3


def test_a_disk_without_room_costs_the_media_and_not_the_training(
    work: Path, disk_factory: DiskFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = disk_factory("full", 4 * MIB)
    monkeypatch.setenv("MODELYARD_DIR", str(disk.path))
    with modelyard.init() as run:
        run.log({"page": modelyard.Html("first", inject=False)})
        disk.fill()
        for step in range(3):
            run.log(
                {"loss": step, "image": modelyard.Image(RANDOM.integers(0, 256, (200, 200, 3), np.uint8))}
            )
        assert not list(Path(run.dir).rglob("*.part"))
    found = Api().run(run.path)
    rows = _rows(found)
    assert [row.get("loss") for row in rows] == [None, 0, 1, 2]
    assert not any("image" in row for row in rows)
    assert found.media(rows[0]["page"], "there").html == "first"
    said = capsys.readouterr().err
    assert said.count("'image' cannot be stored") == 1
    assert "no room" in said


def test_steps_of_rows_that_are_collected_are_in_the_names(work: Path) -> None:
    with modelyard.init() as run:
        run.log({"a": modelyard.Html("a")}, commit=False)
        run.log({"b": modelyard.Html("b")})
        run.log({"c": modelyard.Html("c")}, step=7)
    rows = _rows(Api().run(run.path))
    names = [row[key]["path"].split("_")[1] for row, key in zip(rows, "ac", strict=True)]
    assert (names, rows[0]["b"]["path"].split("_")[1]) == (["0", "7"], "0")
    assert [row["_step"] for row in rows] == [0, 7]


def test_media_are_found_and_read_by_plain_calls(any_live_server: LiveServer, work: Path) -> None:
    with modelyard.init() as run:
        for step in (0, 5):
            run.log({"loss": 1.0}, step=step)
            run.log({"val/examples": modelyard.Image(_pixels())}, step=step + 1)
        sizes = [path.stat().st_size for path in sorted(Path(run.dir).rglob("examples_*.png"))]
    page = Path(__file__).parents[3] / "docs/media.md"
    (example,) = re.findall(r"<!-- runs: plain -->\n```python\n(.*?)```", page.read_text(), re.DOTALL)
    environment = {**os.environ, "MODELS": any_live_server.address, "RUN": Api().run(run.path)._record.id}
    done = subprocess.run(
        [sys.executable, "-c", example], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.splitlines() == [f"1 4 5 {sizes[0]}", f"6 4 5 {sizes[1]}"], done.stderr
