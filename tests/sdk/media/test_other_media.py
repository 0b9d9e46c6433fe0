"""Sound, films, figures, things in space and molecules: what they take, and what comes back."""

from __future__ import annotations

import io
import json
import warnings
import wave
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

import modelyard
from modelyard import Api
from modelyard.data_types import (
    Audio,
    Bokeh,
    Histogram,
    Html,
    Image,
    Molecule,
    Object3D,
    Plotly,
    Video,
    box3d,
)

RATE = 8000


def _logged(work: Path, value: Any) -> tuple[Any, Any]:
    """The map that a row has of a value, and what comes back."""
    with modelyard.init() as run:
        run.log({"value": value})
    found = Api().run(run.path)
    (row,) = found.scan_history()
    return row["value"], found.media(row["value"], work / "there")


def test_sound_comes_back_with_its_samples(work: Path) -> None:
    samples = np.sin(np.arange(RATE) / 5)
    stored, found = _logged(work, [Audio(samples, RATE, "hi"), Audio(np.zeros((10, 2), np.int16), RATE)])
    assert (stored["_type"], stored["count"], stored["captions"]) == ("audio", 2, ["hi", None])
    assert (stored["sampleRates"], stored["durations"]) == ([RATE, RATE], [1.0, 10 / RATE])
    with wave.open(io.BytesIO(found[0].content.read())) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        got = np.frombuffer(file.readframes(RATE), "<i2") / 32_767
    assert np.allclose(got, samples, atol=1e-4)
    assert (found[0].caption, found[1].sample_rate) == ("hi", RATE)
    with wave.open(io.BytesIO(found[1].content.read())) as file:
        assert (file.getnchannels(), file.getnframes()) == (2, 10)


def test_a_sound_file_is_kept_as_it_is(work: Path) -> None:
    Path("x.wav").write_bytes(Audio(np.zeros(4), RATE).content.read())
    assert (Audio("x.wav").sample_rate, Audio("x.wav").duration) == (RATE, 4 / RATE)
    Path("x.ogg").write_bytes(b"OggS")
    stored, found = _logged(work, Audio("x.ogg"))
    assert stored["path"].endswith(".ogg")
    assert found.content.read() == b"OggS"
    for wrong in ((np.zeros(3),), (np.zeros((2, 2, 2)), RATE), (np.full(3, 10**6), RATE), (np.zeros(3), 0)):
        with pytest.raises(ValueError, match="Audio"):
            Audio(*wrong)


def test_a_film_of_frames_comes_back_with_its_pictures(work: Path) -> None:
    frames = np.zeros((3, 3, 8, 12), np.uint8)
    for number in range(3):
        frames[number, number] = 255
    stored, found = _logged(work, Video(frames, fps=10, caption="colours"))
    assert (stored["_type"], stored["width"], stored["height"]) == ("video-file", 12, 8)
    assert stored["path"].endswith(".gif")
    with PIL.Image.open(io.BytesIO(found.content.read())) as picture:
        assert picture.n_frames == 3
        assert picture.info["duration"] == 100
        picture.seek(1)
        assert picture.convert("RGB").getpixel((0, 0)) == (0, 255, 0)
    batch = Video(np.zeros((3, 2, 1, 4, 6)), format="gif")
    assert (batch.width, batch.height) == (12, 8)


@pytest.mark.optional("imageio_ffmpeg")
@pytest.mark.parametrize("format", ["mp4", "webm"])
def test_a_film_is_written_by_ffmpeg(format: str, tmp_path: Path) -> None:
    import importlib

    ffmpeg = importlib.import_module("imageio_ffmpeg")
    film = Video(np.full((4, 3, 33, 17), 200, np.uint8), format=format, fps=4)
    path = tmp_path / f"film.{format}"
    path.write_bytes(film.content.read())
    facts = next(ffmpeg.read_frames(str(path)))
    assert facts["size"] == (18, 34)
    assert facts["fps"] == 4.0


def test_a_film_file_is_kept_as_it_is(work: Path) -> None:
    Path("x.mp4").write_bytes(b"film")
    stored, found = _logged(work, [Video("x.mp4"), Video(io.BytesIO(b"other"), format="webm")])
    assert (stored["_type"], len(stored["videos"])) == ("videos", 2)
    assert [one.content.read() for one in found] == [b"film", b"other"]
    for wrong in (
        lambda: Video(np.zeros((3, 4))),
        lambda: Video(np.zeros((3, 2, 4, 4))),
        lambda: Video(io.BytesIO(b"x")),
        lambda: Video(np.zeros((1, 3, 4, 4)), format="avi"),
        lambda: Video(np.zeros((1, 3, 4, 4)), fps=0),
        lambda: Video(__file__),
    ):
        with pytest.raises(ValueError, match="Video"):
            wrong()


def test_points_and_scenes_come_back(work: Path) -> None:
    points = np.arange(12.0).reshape(2, 6)
    box = box3d(center=(0, 0, 0), size=(2, 4, 6), orientation=(1, 0, 0, 0), color=(1, 2, 3), label="car")
    scene = Object3D.from_point_cloud(points=points[:, :3], boxes=[box])
    stored, found = _logged(work, [Object3D(points, caption="cloud"), scene])
    assert stored["_type"] == "object3D"
    assert stored["filenames"][0].startswith("value_0_")
    assert json.loads(found[0].content.read()) == points.tolist()
    assert found[0].caption == "cloud"
    document = json.loads(found[1].content.read())
    assert document["points"] == points[:, :3].tolist()
    assert document["boxes"] == [box]
    assert box["corners"][:2] == [[-1.0, -2.0, -3.0], [-1.0, -2.0, 3.0]]
    half = 0.5**0.5
    turned = box3d(center=(0, 0, 0), size=(2, 4, 6), orientation=(half, 0, 0, half), color=(1, 2, 3))
    assert np.allclose(turned["corners"][0], [2, -1, -3])


def test_files_of_things_and_molecules_are_kept_as_they_are(work: Path) -> None:
    for name in ("thing.glb", "cloud.pts.json", "water.pdb"):
        Path(name).write_text(name)
    stored, found = _logged(work, [Object3D("thing.glb"), Object3D.from_file("cloud.pts.json")])
    assert [one.content.read() for one in found] == [b"thing.glb", b"cloud.pts.json"]
    assert stored["objects"][1]["path"].endswith(".pts.json")
    stored, found = _logged(
        work, [Molecule("water.pdb", caption="water"), Molecule(io.StringIO("x"), file_type="sdf")]
    )
    assert (stored["_type"], stored["captions"]) == ("molecule", ["water", None])
    assert stored["filenames"] == [one["path"] for one in stored["molecules"]]
    assert [one.content.read() for one in found] == [b"water.pdb", b"x"]
    for wrong in (
        lambda: Object3D("x.txt"),
        lambda: Object3D(np.zeros((3, 5))),
        lambda: Object3D({"type": "other", "points": []}),
        lambda: Object3D(np.full((1, 3), np.nan)),
        lambda: Object3D(io.StringIO("x")),
        lambda: Molecule("x.txt"),
        lambda: Molecule(io.StringIO("x")),
        lambda: Molecule(3),
        lambda: box3d(center=(0, 0), size=(1, 1, 1), orientation=(1, 0, 0, 0), color=(1, 2, 3)),
        lambda: box3d(center=(0, 0, 0), size=(1, 1, 1), orientation=(0, 0, 0, 0), color=(1, 2, 3)),
    ):
        with pytest.raises(ValueError, match=r"Object3D|Molecule|box3d"):
            wrong()


@pytest.mark.optional("rdkit")
def test_a_molecule_is_made_of_smiles() -> None:
    assert b"HETATM" in Molecule.from_smiles("CCO").content.read()
    with pytest.raises(ValueError, match="no molecule"):
        Molecule.from_smiles("not one")


def _drawn(kind: str) -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(2, 1), dpi=50)
    if kind == "line":
        plt.plot([1, 2], [3, 4])
    else:
        plt.imshow([[1, 2]])
    return figure


def test_figures_come_back_as_plotly_draws_them_and_else_as_pictures(work: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matplotlib.pyplot as plt
        import plotly.graph_objects as go

        line, picture = _drawn("line"), _drawn("picture")
        with modelyard.init() as run:
            run.log(
                {
                    "plotly": go.Figure(go.Scatter(x=[1, 2], y=[3, 4])),
                    "line": line,
                    "picture": picture,
                    "axes": picture.axes[0],
                    "module": plt,
                    "image": Image(line),
                }
            )
        plt.close("all")
        found = Api().run(run.path)
        (row,) = found.scan_history()
        kinds = {key: row[key]["_type"] for key in ("plotly", "picture", "axes", "module", "image")}
        assert kinds == {
            "plotly": "plotly-file", "picture": "image-file", "axes": "image-file", "module": "image-file",
            "image": "image-file",
        }  # fmt: skip
        assert found.media(row["plotly"], work / "there").figure.data[0].x == (1, 2)
        assert row["line"]["_type"] in {"plotly-file", "image-file"}
        assert (row["picture"]["width"], row["picture"]["height"]) == (100, 50)
        with pytest.raises(ValueError, match="Plotly"):
            Plotly("text")


def test_pictures_of_pillow_are_logged_as_they_come(work: Path) -> None:
    stored, found = _logged(work, PIL.Image.new("RGB", (3, 2), (9, 8, 7)))
    assert (stored["width"], stored["height"]) == (3, 2)
    assert found.image.getpixel((0, 0)) == (9, 8, 7)


def test_pages_take_text_files_and_paths(work: Path) -> None:
    Path("page.html").write_text("<head></head><b>x</b>")
    assert Html("page.html").html == '<head><base target="_blank"></head><b>x</b>'
    assert Html(Path("page.html"), inject=False).html == "<head></head><b>x</b>"
    with open("page.html") as file:
        assert Html(file, inject=False).html == "<head></head><b>x</b>"
    assert Html("page.html", inject=False, data_is_not_path=True).html == "page.html"
    with pytest.raises(FileNotFoundError):
        Html("nowhere.html")
    with pytest.raises(TypeError):
        Html(3)


@pytest.mark.parametrize(
    "wrong",
    [{}, {"sequence": ["a"]}, {"sequence": [1], "num_bins": 600}, {"np_histogram": ([1, 2], [1, 2])}],
)
def test_histograms_of_other_things_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Histogram"):
        Histogram(**wrong)


def test_histograms_count_finite_numbers() -> None:
    assert Histogram([1, 2, np.nan, np.inf], num_bins=2).histogram == [1, 1]
    assert Histogram(np_histogram=np.histogram([1, 2, 3], 3)).histogram == [1, 1, 1]
    assert len(Histogram(range(100)).bins) == 65


@pytest.mark.optional("bokeh")
def test_a_figure_of_bokeh_is_its_document_and_comes_back(work: Path) -> None:
    import importlib

    plotting = importlib.import_module("bokeh.plotting")
    figure = plotting.figure(title="loss")
    figure.line([0, 1, 2], [3, 2, 1])
    stored, found = _logged(work, figure)
    assert stored["_type"] == "bokeh-file"
    assert stored["path"].endswith(".bokeh.json")
    assert isinstance(found, Bokeh)
    assert found.figure.title.text == "loss"
    assert list(found.figure.renderers[0].data_source.data["y"]) == [3, 2, 1]
    Path("document.json").write_bytes(found.content.read())
    assert Bokeh("document.json").figure.title.text == "loss"
    with pytest.raises(ValueError, match="Bokeh takes a figure"):
        Bokeh(3)
