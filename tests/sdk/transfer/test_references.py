"""References to files and web pages: what is recorded of them, and what a download makes of it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

import modelyard
from modelyard import Artifact, Run, errors
from tests.clients.commands import COMMAND
from tests.parts.fork_server import run_python
from tests.parts.web_server import Site, site

__all__ = ["site"]

SOME = b"weights" * 1000


@pytest.fixture
def run(embedded: Path) -> Run:
    return modelyard.init(project="references")


def recorded(artifact: Artifact) -> dict[str, tuple[str | None, str, int | None]]:
    """Of every entry URI, tag and size."""
    entries = artifact.manifest.entries
    return {path: (entry.ref, entry.digest, entry.size) for path, entry in entries.items()}


def downloaded(folder: str | Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()
    }


def log_reference(run: Run, artifact_name: str, uri: str, **options: Any) -> Artifact:
    artifact = Artifact(artifact_name, "model")
    artifact.add_reference(uri, **options)
    return run.log_artifact(artifact)


class TestFiles:
    def test_a_file_is_recorded_by_its_sha256_and_size(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "weights of a model.bin"
        path.write_bytes(SOME)
        logged = log_reference(run, "file", path.as_uri())
        tag = hashlib.sha256(SOME).hexdigest()
        assert recorded(logged) == {"weights of a model.bin": (path.as_uri(), tag, len(SOME))}
        assert logged.size == len(SOME)
        assert downloaded(logged.download(tmp_path / "out")) == {"weights of a model.bin": SOME}

    def test_a_folder_expands_below_the_name(self, run: Run, tmp_path: Path) -> None:
        folder = tmp_path / "in"
        (folder / "deep").mkdir(parents=True)
        (folder / "one").write_bytes(b"1")
        (folder / "deep/two").write_bytes(b"22")
        logged = log_reference(run, "folder", folder.as_uri(), name="data/")
        assert downloaded(logged.download(tmp_path / "out")) == {"data/one": b"1", "data/deep/two": b"22"}

    def test_more_files_than_max_objects_are_refused_and_none_is_added(self, tmp_path: Path) -> None:
        for number in range(4):
            (tmp_path / str(number)).write_bytes(b"")
        artifact = Artifact("many", "dataset")
        with pytest.raises(ValueError, match=r"more than 3 objects.* 500,000 \(--max-version-files\)"):
            artifact.add_reference(tmp_path.as_uri(), max_objects=3)
        assert not artifact.manifest.entries
        assert len(artifact.add_reference(tmp_path.as_uri(), max_objects=4)) == 4

    def test_log_model_takes_a_reference_for_a_path(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "model.bin"
        path.write_bytes(SOME)
        run.log_model(path.as_uri(), name="logged-by-uri")
        assert Path(run.use_model("logged-by-uri:latest")).read_bytes() == SOME
        link = run.link_model(path.as_uri(), "Linked by URI", name="logged-by-uri")
        assert link is not None
        assert link.source_version == "v0"

    def test_equal_references_make_no_new_version_and_changed_ones_do(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"first")
        versions = [log_reference(run, "same", path.as_uri()).version for _ in range(2)]
        path.write_bytes(b"other")
        versions.append(log_reference(run, "same", path.as_uri()).version)
        assert versions == ["v0", "v0", "v1"]

    def test_a_changed_target_is_an_error_that_names_the_entry(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"first")
        logged = log_reference(run, "changed", path.as_uri(), name="renamed/data")
        path.write_bytes(b"other")
        with pytest.raises(errors.ReferenceChanged, match=r"'renamed/data': file://.*/data has changed"):
            logged.download(tmp_path / "out")
        assert downloaded(tmp_path / "out") == {}

    def test_a_missing_target_is_an_error_unless_allowed(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for name in ("kept", "lost"):
            (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "in" / name).write_bytes(name.encode())
        logged = log_reference(run, "missing", (tmp_path / "in").as_uri())
        (tmp_path / "in/lost").unlink()
        with pytest.raises(errors.ReferenceMissing, match="'lost'"):
            logged.download(tmp_path / "out")
        logged.download(tmp_path / "out", allow_missing_references=True)
        assert downloaded(tmp_path / "out") == {"kept": b"kept"}
        assert "'lost' is left out" in capsys.readouterr().err

    def test_without_checksum_only_the_uri_is_recorded(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "data"
        logged = log_reference(run, "unchecked", path.as_uri(), checksum=False)
        assert recorded(logged) == {"data": (path.as_uri(), path.as_uri(), None)}
        path.write_bytes(b"came later")
        assert downloaded(logged.download(tmp_path / "out")) == {"data": b"came later"}
        path.write_bytes(b"and changed")
        assert downloaded(logged.download(tmp_path / "out")) == {"data": b"and changed"}

    def test_what_is_there_already_is_not_fetched_again_and_what_was_damaged_is(
        self, run: Run, tmp_path: Path
    ) -> None:
        path = tmp_path / "data"
        path.write_bytes(SOME)
        logged = log_reference(run, "there", path.as_uri())
        logged.download(tmp_path / "out")
        path.rename(tmp_path / "away")
        logged.download(tmp_path / "out")  # nothing has to be asked for
        (tmp_path / "away").rename(path)
        (tmp_path / "out/data").write_bytes(b"damaged")
        logged.download(tmp_path / "out")
        assert downloaded(tmp_path / "out") == {"data": SOME}

    def test_a_pipe_or_a_folder_in_its_place_is_no_target(self, run: Run, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(errors.Error, match="not a regular file"):
            Artifact("pipe", "model").add_reference((tmp_path / "pipe").as_uri())


class TestWeb:
    def test_the_etag_and_the_size_are_recorded_without_fetching(self, run: Run, site: Site) -> None:
        site.put("/models/a%20b.bin", SOME, ETag='"abc"')
        logged = log_reference(run, "web", site.url + "/models/a%20b.bin")
        assert recorded(logged) == {"a b.bin": (site.url + "/models/a%20b.bin", '"abc"', len(SOME))}
        assert [method for method, _ in site.asked] == ["HEAD"]

    @pytest.mark.parametrize(
        ("headers", "changed"),
        [
            ({"ETag": '"1"'}, {"ETag": '"2"'}),
            (
                {"Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT"},
                {"Last_Modified": "Thu, 22 Oct 2015 07:28:00 GMT"},
            ),
        ],
        ids=["ETag", "Last-Modified"],
    )
    def test_a_page_that_changed_is_refused(
        self, run: Run, site: Site, tmp_path: Path, headers: dict[str, str], changed: dict[str, str]
    ) -> None:
        site.put("/model", SOME, **headers)
        logged = log_reference(run, f"web-{next(iter(headers))}", site.url + "/model")
        assert downloaded(logged.download(tmp_path / "out")) == {"model": SOME}
        site.put("/model", SOME[::-1], **changed)
        with pytest.raises(errors.ReferenceChanged, match="'model'"):
            logged.download(tmp_path / "other")
        assert downloaded(tmp_path / "other") == {}

    def test_a_page_without_tags_is_known_by_its_url_and_size(
        self, run: Run, site: Site, tmp_path: Path
    ) -> None:
        site.put("/model", SOME)
        logged = log_reference(run, "web-plain", site.url + "/model")
        assert recorded(logged) == {"model": (site.url + "/model", site.url + "/model", len(SOME))}
        assert downloaded(logged.download(tmp_path / "out")) == {"model": SOME}
        site.put("/model", SOME + b"!")
        with pytest.raises(errors.ReferenceChanged, match="7,000 bytes then, 7,001 now"):
            logged.download(tmp_path / "other")

    def test_truncated_bodies_and_server_errors_are_retried(
        self, run: Run, site: Site, tmp_path: Path
    ) -> None:
        page = site.put("/model", SOME, ETag='"1"')
        logged = log_reference(run, "web-cut", site.url + "/model")
        page.cut, page.fail = 100, 1
        assert downloaded(logged.download(tmp_path / "out")) == {"model": SOME}
        assert [method for method, _ in site.asked] == ["HEAD", "GET", "GET", "GET"]

    def test_redirects_are_followed_and_the_uri_stays(self, run: Run, site: Site, tmp_path: Path) -> None:
        site.put("/model", b"", 302, Location="/elsewhere")
        site.put("/elsewhere", SOME, ETag='"1"')
        logged = log_reference(run, "web-moved", site.url + "/model")
        assert recorded(logged)["model"][0] == site.url + "/model"
        assert downloaded(logged.download(tmp_path / "out")) == {"model": SOME}

    def test_a_server_that_refuses_head_is_asked_with_get(self, run: Run, site: Site) -> None:
        site.put("/model", b"", 405)
        with pytest.raises(errors.Error, match="405"):
            Artifact("web-head", "model").add_reference(site.url + "/model")
        assert [method for method, _ in site.asked] == ["HEAD", "GET"]

    def test_what_is_not_there_is_an_error_when_added(self, site: Site) -> None:
        with pytest.raises(ValueError, match="there is nothing at"):
            Artifact("web-none", "model").add_reference(site.url + "/nothing")

    def test_a_password_in_a_url_is_refused(self) -> None:
        with pytest.raises(ValueError, match="take user and password out"):
            Artifact("web-secret", "model").add_reference("https://user:secret@example.com/model")

    def test_a_redirect_never_leads_to_another_scheme(self, site: Site, tmp_path: Path) -> None:
        (tmp_path / "secret").write_bytes(b"secret")
        site.put("/model", b"", 302, Location=(tmp_path / "secret").as_uri())
        with pytest.raises(errors.Error):
            Artifact("web-file", "model").add_reference(site.url + "/model")


class TestSchemes:
    @pytest.mark.parametrize("uri", ["no scheme", "/a/path", "model.bin", "://x", "s3://"])
    def test_no_scheme_is_a_value_error(self, uri: str) -> None:
        with pytest.raises(ValueError, match="a reference has a scheme"):
            Artifact("none", "model").add_reference(uri)

    def test_references_of_other_schemes_need_a_name(self) -> None:
        artifact = Artifact("other", "model")
        with pytest.raises(ValueError, match="name= is needed"):
            artifact.add_reference("ssh://host/path")
        assert artifact.add_reference("ssh://host/path", name="there")[0].ref == "ssh://host/path"

    def test_other_schemes_are_left_out_of_a_download_with_a_warning(
        self, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        artifact = Artifact("other", "model")
        artifact.add_reference("ssh://host/path", name="there")
        with artifact.new_file("here") as file:
            file.write("a file")
        logged = run.log_artifact(artifact)
        assert downloaded(logged.download(tmp_path / "out")) == {"here": b"a file"}
        assert (
            "'there' is left out: modelyard does not support the scheme of ssh://host/path"
            in capsys.readouterr().err
        )

    def test_the_same_path_twice_with_other_content_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"first")
        artifact = Artifact("twice", "model")
        artifact.add_reference(path.as_uri())
        artifact.add_reference(path.as_uri())
        path.write_bytes(b"other")
        with pytest.raises(ValueError, match="added before with other content"):
            artifact.add_reference(path.as_uri())
        with pytest.raises(ValueError, match="added before with other content"):
            artifact.add_file(path)

    def test_a_reference_is_removed_like_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "data"
        path.write_bytes(b"first")
        artifact = Artifact("removed", "model")
        (entry,) = artifact.add_reference(path.as_uri())
        artifact.remove(entry)
        assert not artifact.manifest.entries

    def test_a_logged_artifact_takes_no_more_references(self, run: Run, tmp_path: Path) -> None:
        (tmp_path / "data").write_bytes(b"data")
        logged = log_reference(run, "frozen", (tmp_path / "data").as_uri())
        with pytest.raises(errors.ArtifactFinalizedError):
            logged.add_reference("https://example.com/model")


def test_the_command_line_logs_and_uses_a_reference(embedded: Path, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(SOME)
    uri, out = (tmp_path / "data").as_uri(), str(tmp_path / "out")
    modelyard_command("log", uri, "--project", "references", "--name", "by-command")
    modelyard_command("use", "references/by-command:v0", "--root", out)
    assert downloaded(out) == {"data": SOME}


def modelyard_command(*arguments: str) -> None:
    done = run_python(*COMMAND, *arguments)
    assert done.returncode == 0, done.stderr
