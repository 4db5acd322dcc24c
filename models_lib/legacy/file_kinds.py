"""What a file is that is no torch zip, in a sentence with its remedy: told by its first bytes, nothing is interpreted.

What does not belong here: files that are zips (archive.py).
"""

_RESAVE = "torch.save(torch.load('old.pt', weights_only=True), 'new.pt')"
_BEFORE_ZIP = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number with which torch.save of before version 1.6 begins, itself a pickle."""


def not_a_torch_zip(content: bytes) -> str:
    """What `content`, which does not begin as a zip does, is instead, and what to do."""
    if not content:
        return "is empty. Copy it again from where it was made."
    if not any(content[:4_096]):
        return "holds only zeros: its copy failed. Copy it again from where it was made."
    for told, sentence in (
        (content.startswith(_BEFORE_ZIP), _before_zip()),
        (content[257:262] == b"ustar", _before_zip()),
        (_is_pickle(content), _pickle(content)),
        (content[:2] in (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"), _COMPRESSED),
        (content[8:10] == b'{"' and content[4:8] == bytes(4), _SAFETENSORS),
        (content.startswith(b"\x89HDF"), "is an HDF5 file, of Keras perhaps: no model of torch. Give the .pt file."),
        (content.startswith(b"version https://git-lfs"), "is a Git LFS pointer, not the model. Run: git lfs pull."),
        (_is_text(content), "is text, not a model of torch. Give the .pt file."),
    ):
        if told:
            return sentence
    return (
        "is not what torch.save writes (a zip), or its first bytes are damaged. Copy it again from where it was made."
    )


def _before_zip() -> str:
    return (
        f"is of before torch 1.6, whose files are bare pickles and are not read. "
        f"On the machine where it was made, write it anew: {_RESAVE}."
    )


def _is_pickle(content: bytes) -> bool:
    return (content[0] == 0x80 and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")) or content.startswith(b"c__")


def _pickle(content: bytes) -> str:
    kind = "a joblib file" if b"joblib" in content[:65_536] else "a bare pickle"
    return (
        f"is {kind}, which could run any program when it is read; nothing of it was executed. On the machine where it "
        f"was made, write the state alone: torch.save(model.state_dict(), 'new.pt')."
    )


_COMPRESSED = (
    "is compressed, by joblib or gzip perhaps, and is not read. On the machine where it was made, write the state alone: "
    "torch.save(model.state_dict(), 'new.pt')."
)
_SAFETENSORS = (
    "is a safetensors file. It is safe, but no legacy model: write it for torch with "
    "torch.save(safetensors.torch.load_file('old.safetensors'), 'new.pt')."
)


def _is_text(content: bytes) -> bool:
    head = content[:4_096]
    return head.decode("utf-8", errors="replace").replace("\n", "").replace("\r", "").replace("\t", "").isprintable()
