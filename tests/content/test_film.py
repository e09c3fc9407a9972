"""A film on another machine: playing with seeks fetches little more than is watched, and the map stays short."""

from __future__ import annotations

from tests.content.bed import MIB, Bed

from mosaicfs_core.content.cache import BLOCK

SIZE = 10_000_000_000
CHUNK = 256 * 1024


class Film:
    """Ten gigabytes that are computed when they are asked for: every eight bytes tell their place."""

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, part: slice) -> bytes:
        start, stop = part.start // 8, -(-part.stop // 8)
        whole = b"".join(number.to_bytes(8, "little") for number in range(start, stop))
        return whole[part.start - start * 8 : part.stop - start * 8]


async def test_a_film_with_seeks(bed: Bed) -> None:
    film = Film()
    file = bed.put("film", film)
    watched = 0
    with await bed.open(file) as source:

        async def read(offset: int, length: int) -> None:
            nonlocal watched
            data = await source.read(offset, length)
            watched += len(data)
            assert data[:64] == film[offset : offset + 64]
            assert len(data) == min(length, SIZE - offset)

        async def play(offset: int, length: int) -> None:
            for place in range(offset, offset + length, CHUNK):
                await read(place, CHUNK)

        await read(0, 64 * 1024)
        await read(SIZE - MIB, MIB)
        await play(0, 12 * MIB)
        for number in range(1, 9):
            await play(number * SIZE // 10 // CHUNK * CHUNK, 6 * MIB)
        await bed.settled()
        assert len(source.present) < 20
        held = source._entry.present
        assert len(held) < 20
        assert held.total * BLOCK <= 2 * watched + 20 * MIB
    assert bed.owner.sent <= 2 * watched + 20 * MIB
    assert bed.data_files()[0].stat().st_blocks * 512 < 3 * watched, "the file on disk is sparse"
