"""Messages that carry bytes are the bytes that Protobuf writes, and any layout of them is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from modelyard.contract import framing
from modelyard.v1 import model_artifact_pb2, upload_pb2

DATA = st.binary(min_size=1, max_size=300)


@given(st.lists(DATA, min_size=1, max_size=4), st.text(max_size=200))
def test_a_message_of_bytes_is_the_one_that_protobuf_writes(parts: list[bytes], upload_id: str) -> None:
    head = upload_pb2.UploadChunksRequest(upload_id=upload_id).SerializeToString()
    written = framing.with_bytes(framing.UPLOAD_DATA, *parts, head=head)
    whole = upload_pb2.UploadChunksRequest(upload_id=upload_id, data=b"".join(parts))
    assert written == whole.SerializeToString()
    begin, start = framing.find_bytes(written, framing.UPLOAD_DATA, framing.UPLOAD_HEAD)
    assert written[:begin] == head
    assert written[start:] == b"".join(parts)


@given(DATA, st.integers(1, 300))
def test_a_message_that_is_cut_off_is_not_mistaken_for_a_whole_one(data: bytes, missing: int) -> None:
    whole = model_artifact_pb2.DownloadFilesResponse(data=data).SerializeToString()
    assert framing.find_bytes(whole[:-missing], framing.DOWNLOAD_DATA) == (0, 0)


@given(st.binary(max_size=200))
def test_reading_never_goes_beyond_the_end_of_the_bytes(message: bytes) -> None:
    begin, start = framing.find_bytes(message, framing.UPLOAD_DATA, framing.UPLOAD_HEAD)
    assert 0 <= begin <= start <= len(message)


@given(st.integers(0, (1 << 63) - 1), st.binary(max_size=3))
def test_numbers_of_any_size_come_back(number: int, behind: bytes) -> None:
    encoded = framing.varint(number)
    assert framing.read_varint(encoded + behind, 0) == (len(encoded), number)
    assert framing.read_varint(encoded[:-1], 0)[0] == len(encoded)
